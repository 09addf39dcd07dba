#!/bin/bash
# A study on several nodes of a SLURM cluster, which share the folder of the repository. In that folder:
#     sbatch docs/slurm.sh
# Adapt the lines with #SBATCH to your cluster. All nodes need GPUs of one kind. After the time limit, submit it again:
# it continues where it was.
#SBATCH --job-name=vgg-ablation
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.txt
# If a node is lost, the others go on. If the first one is lost, SLURM starts the job again.
#SBATCH --no-kill
#SBATCH --requeue

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
export PATH="$PWD/.venv/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0

# This script runs on the first node, which is the head. Jobs that share a node need different ports.
ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
port=$((20000 + SLURM_JOB_ID % 10000))
resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

ray start --head --node-ip-address="$ip" --port="$port" --include-dashboard=false "${resources[@]}" --block &
until (exec 3<>"/dev/tcp/$ip/$port") 2>/dev/null; do sleep 1; done
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others)); then
    srun --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" --no-kill --kill-on-bad-exit=0 \
        ray start --address="$ip:$port" "${resources[@]}" --block &
    # Nodes that come later are used as well.
    sleep 30
fi

python -m vgg_ablation.parallel --on "$ip:$port"
dvc repro
