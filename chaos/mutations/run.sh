#!/bin/sh
# Puts each bug of this folder back, one at a time, into a copy of the tree, and demands that the simulator finds it from fresh
# seeds: from the clock, or from $1 on. $2 names one mutation alone; $3 is the number of seeds after which it counts as missed.
# Says which checker caught it and by what, and that the tree without the bug passes the same seed.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
seed=${1:-$(date +%s)}
only=${2:-}
seeds=${3:-400}
work=$root/target/mutations
copy=$work/tree
mkdir -p "$work" && rm -rf "$copy" && mkdir "$copy"
# What git knows of, as it stands; times are kept, so that what did not change is not built again.
(cd "$root" && git ls-files -z | xargs -0 cp -p --parents -t "$copy")
# But for what the last run changed and may have left built.
(cd "$copy" && sed -n 's|^+++ b/||p' chaos/mutations/*.patch | sort -u | xargs touch)

# One target folder with the tree itself: only the packages of the tree are built anew.
build() {
  (cd "$copy" && CARGO_TARGET_DIR="$root/target" cargo build --quiet --profile sim -p tandem-sim)
  cp "$root/target/sim/tandem-sim" "$work/$1"
}

echo "seeds from $seed on, at most $seeds for each"
build clean
missed=
for patch in "$copy"/chaos/mutations/*.patch; do
  name=$(basename "$patch" .patch)
  [ -z "$only" ] || [ "$name" = "$only" ] || continue
  patch --quiet -p1 -d "$copy" <"$patch"
  build mutated
  patch --quiet -R -p1 -d "$copy" <"$patch"
  # A broken assertion ends the process; then its message is what caught the bug.
  "$work/mutated" --seed "$seed" --iterations "$seeds" --first --quiet >"$work/$name.log" 2>&1 || true
  caught=$(sed -n 's/^seed \([0-9]*\) FAIL.*/\1/p' "$work/$name.log" | head -1)
  if [ -z "$caught" ]; then
    echo "MISSED $name: $seeds seeds from $seed on pass"
    missed="$missed $name"
  elif ! "$work/clean" --seed "$caught" --quiet >"$work/clean.log" 2>&1; then
    echo "UNSURE $name: seed $caught fails without it too: $work/clean.log"
    missed="$missed $name"
  else
    echo "caught $name after $((caught - seed + 1)) seeds, by seed $caught:"
    sed -n '/FAIL/,$p' "$work/$name.log" | sed -n '2,3p' | grep -v 'repeat it' | cut -c1-300
  fi
done
[ -z "$missed" ] || { echo "not caught:$missed"; exit 1; }
