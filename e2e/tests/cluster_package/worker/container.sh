# Becomes a container's program, in a mount namespace that is made for it.
# IMAGE ROOT ro|rw USER:GROUP MORE-GROUPS --no-new-privs|- [VOLUME PATH ro|rw]... --env [NAME=VALUE]... -- WORD...
set -euo pipefail
image=$1 root=$2 mode=$3 account=$4 groups=$5 privileges=$6
shift 6
mount -t tmpfs -o mode=755 container "$root"
cp -a "$image/." "$root/"
mkdir -p "$root/proc" "$root/dev" "$root/etc"
mount -t proc proc "$root/proc"
for device in null zero full random urandom; do
  : > "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
echo '127.0.0.1 localhost' > "$root/etc/hosts"
while [ "$1" != --env ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
  shift 3
done
shift
variables=()
while [ "$1" != -- ]; do
  variables+=("$1")
  shift
done
shift
[ "$mode" = rw ] || mount -o remount,bind,ro "$root"
# the tools are this machine's, so the root is entered last
enter=(env -i "${variables[@]}" "$(command -v chroot)" --userspec="$account" --groups="$groups" "$root")
[ "$privileges" = --no-new-privs ] && enter=(setpriv --no-new-privs "${enter[@]}")
exec "${enter[@]}" "$@"
