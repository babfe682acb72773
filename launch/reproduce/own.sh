#!/usr/bin/env bash
# Makes the figures of docs/own-pictures.md: students for photos and for drawings, and the one for
# photos from fresh weights. Takes half an hour on 2 CPU cores. An interrupted run resumes.
#   launch/reproduce/own.sh DATA     (DATA holds lr_only/ and real_world/)
set -euo pipefail
data=${1:?usage: launch/reproduce/own.sh DATA}
own() {
  local config=$1 workdir=$2
  shift 2
  time python -m kdgan_jax.main --config="configs/$config" --workdir="$workdir" \
    --config.minutes=10 "$@"
}
photos=(--config.teacher.checkpoint=realesr-general-x4v3 --config.data.source="$data/lr_only")
own own.py runs/own "${photos[@]}"
own own.py runs/own_fresh "${photos[@]}" --config.train.distill.start=
python launch/reproduce/drawings.py runs/drawings_source
own own.py:drawings runs/drawings --config.data.source=runs/drawings_source \
  --config.teacher.checkpoint="$data/real_world/realesr-animevideov3-x4.param"
