# $1: the test's directory for this machine, with a disk that outlives it. The namespaces are its own already; ends by
# becoming systemd.
set -eu
dir=$1 work=$1/disk
mount -t overlay overlay -o "lowerdir=$(cat "$dir/root"),upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys" 2> /dev/null || mount --bind /sys "$root/sys"
umount -R "$root/sys/fs/cgroup" 2> /dev/null || true
mount -t cgroup2 none "$root/sys/fs/cgroup"
# no sysctl and no udev rule reaches the machine outside
mount -o remount,bind,ro "$root/sys"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty kmsg; do
  [ -e "/dev/$node" ] || continue
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while IFS=$(printf '\t') read -r from to; do
  mkdir -p "$root$to"
  mount --bind "$from" "$root$to"
done < "$dir/binds"
if [ ! -e "$work/booted" ]; then
  # what packages have enabled on this machine stays out
  rm -rf "$root/etc/systemd/system"
  mkdir -p "$root/etc/systemd/system"
  cp -a "$dir/units/." "$root/etc/systemd/system/"
  : > "$root/etc/machine-id"
  touch "$work/booted"
fi
hostname interlink-test
[ ! -e "$dir/private-network" ] || ip link set lo up
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside 2> /dev/null || true
exec env -i container=interlink-test LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=0 <&-
