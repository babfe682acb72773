#!/usr/bin/env bash
# Trains the networks of configs/students.py; with names, only these. Leaves runs/NAME.
# Takes hours each on a CPU core. An interrupted training resumes where it stopped.
#   launch/reproduce/students.sh DATA [NAME...]     (DATA holds train/ and weights/)
set -euo pipefail
data=${1:?usage: launch/reproduce/students.sh DATA [NAME...]}
shift
(($#)) || set -- clean_tiny_x4 clean_x4 clean_tiny_x2 clean_tiny_x3 origin_x4
for name; do
  scale=${name##*_x}
  variant=${name%_x*}
  python -m kdgan_jax.main --config="configs/students.py:${variant#clean_}" --workdir="runs/$name" \
    --config.scale="$scale" --config.data.source="hr:$data/train" \
    --config.phases=student --config.teacher.checkpoint="$data/weights/smfanet_plus_x$scale.pth"
done
