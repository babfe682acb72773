#!/usr/bin/env bash
# Trains the students for clean photos of the package; with names, only these.
# Takes hours each on a CPU core. An interrupted training resumes where it stopped.
#   launch/reproduce/students.sh DATA [NAME...]     (DATA holds train/ and weights/)
set -euo pipefail
data=${1:?usage: launch/reproduce/students.sh DATA [NAME...]}
shift
(($#)) || set -- clean_tiny_x4 clean_x4 clean_gan_x4 clean_tiny_x2 clean_tiny_x3 origin_x4
photos="BSDS500 without BSD100, the 91 images of Yang et al., reduced DIV2K test photos"
terms="Apache-2.0; its teacher and the photos that it was trained on have terms of their own"

train() {
  python -m kdgan_jax.main --config="configs/$1.py:$2" --workdir="runs/$name" \
    --config.data.source="hr:$data/train" "${@:3}"
}

facts() { # photos, which depend on the patch that small ones do not fill; steps; figures
  python - "runs/$name" <<'END'
import json, pathlib, sys
from kdgan_jax import load
photos, config = (
    json.loads(pathlib.Path(sys.argv[1], f"{name}.json").read_bytes()) for name in ("photos", "config")
)
print(len(photos["train"]), sum(config["train"][phase]["steps"] for phase in config["phases"]))
print(load(f"{sys.argv[1]}/student.safetensors").about["held out"])
END
}

ship() {
  local number steps figures
  { read -r number steps && read -r figures; } < <(facts)
  figures="${figures/ (/ on }"
  figures="${figures%)} held out; on benchmarks: docs/students.md"
  rm -f "kdgan_jax/weights/$name.safetensors"
  python -m kdgan_jax.convert "runs/$name" "kdgan_jax/weights/$name.safetensors" --dtype=float16 \
    --data="$number photos: $photos" --source="$1" --licence="$terms" \
    --made_by="launch/reproduce/students.sh DATA $name: $steps steps, seed 0" --figures="$figures" "${@:2}"
}

for name; do
  scale=${name##*_x}
  variant=${name%_x*}
  variant=${variant#clean_}
  if [[ $variant == gan ]]; then
    train clean_gan ""
    ship "configs/clean_gan.py of kdgan_jax" --soft=clean_x4
  else
    teacher=smfanet_plus_x$scale.pth
    phases=student,late
    ((scale == 2)) && phases=student # the last phase loses 0.02 dB on held-out photos at x2
    train students "$variant" --config.scale="$scale" --config.phases="$phases" \
      --config.teacher.checkpoint="$data/weights/$teacher"
    ship "configs/students.py:$variant of kdgan_jax; teacher: SMFANet+ ($teacher, Apache-2.0)"
  fi
done
