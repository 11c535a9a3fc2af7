# shellcheck shell=bash
# What test/run and demo/run share: missing packages, a working directory of an
# unprivileged user, and in it a copy of the tree and a private copy of the
# server, so that the machine's own server is neither changed nor asked.
# Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=            # the working directory
log=             # where the quiet commands write
as_owner=()      # prefix of the commands that must not run as root
bindir=          # programs of the private server

say() {
	printf '%s\n' "$@"
}

die() {
	printf '%s\n' "$0: $*" >&2
	exit 1
}

# Settings of the caller that would lead make, psql or prove astray.
clean_environment() {
	local given=

	if [[ -n ${PG_CONFIG:-} ]]; then
		given=$(realpath -s "$(command -v "$PG_CONFIG")") || die "there is no $PG_CONFIG"
	fi
	unset "${!PG@}" "${!MAKE@}" MFLAGS CDPATH GREP_OPTIONS TESTDIR
	[[ -z $given ]] || export PG_CONFIG=$given
	export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
	umask 022
	# what root has in its home, others cannot run
	((EUID != 0)) || export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
}

# Runs a command with its output in the log; shows the end of it on failure.
quietly() {
	"$@" >>"$log" 2>&1 </dev/null && return
	printf '\nfailed: %s\n' "$*" >&2
	tail -n 40 "$log" >&2
	return 1
}

# ---- packages ---------------------------------------------------------------

# Installs what is missing of the packages named.  VERSION in a name stands for
# the server's major version; those are left alone when PG_CONFIG names a server.
need_packages() {
	local version names missing=()

	command -v apt-get >/dev/null || return 0
	version=$(installed_version)
	if [[ -z $version && -z ${PG_CONFIG:-} ]]; then
		update_packages "$*"
		version=$(offered_version)
		[[ -n $version ]] || die "no package of a PostgreSQL server is on offer"
	fi
	names=$(missing_packages "$version" "$@")
	[[ -n $names ]] || return 0
	mapfile -t missing <<<"$names"
	update_packages "${missing[*]}"
	say "Installing ${missing[*]}"
	without_new_cluster quietly apt_get install "${missing[@]}"
}

installed_version() {
	printf '%s\n' /usr/lib/postgresql/*/bin/postgres |
		sed -n 's,.*/\([0-9]*\)/bin/postgres$,\1,p' | sort -n | tail -n 1
}

offered_version() {
	apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1
}

missing_packages() {
	local version=$1 name
	shift

	for name; do
		[[ $name != *VERSION* || -z ${PG_CONFIG:-} ]] || continue
		name=${name/VERSION/$version}
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] ||
			printf '%s\n' "$name"
	done
}

# Once a run.
update_packages() {
	[[ -z ${packages_updated:-} ]] || return 0
	((EUID == 0)) || die "missing: $1; let root install that, or run this as root"
	say "Asking for the list of packages"
	quietly apt_get update
	packages_updated=1
}

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
		-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# A server that comes with a package would make itself a cluster and start it.
without_new_cluster() {
	local directory=/etc/postgresql-common/createcluster.d status=0

	mkdir -p "$directory"
	printf 'create_main_cluster = false\n' >"$directory/damoov.conf"
	"$@" || status=$?
	rm -f "$directory/damoov.conf"
	return "$status"
}

# ---- working directory ------------------------------------------------------

# Sockets live below it, and their names must be short: hence /tmp, or TMPDIR.  It belongs
# to the caller; what is in it, to whoever runs the server.
make_work() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/damoov-$1.XXXXXX")
	log=$work/log
	chmod 711 "$work"
	: >"$log"
}

# A PostgreSQL server does not run as root.
choose_owner() {
	local owner group

	owner=$(unprivileged_user)
	group=$(id -gn "$owner")
	if ((EUID == 0)); then
		as_owner=(setpriv "--reuid=$owner" "--regid=$group" --init-groups --)
	fi
	install -d -o "$owner" -g "$group" "$work/tree" "$work/server" "$work/home" "$work/tmp"
	cd "$work"    # the owner may not be where the caller is
	export HOME=$work/home TMPDIR=$work/tmp USER=$owner LOGNAME=$owner
}

unprivileged_user() {
	if ((EUID != 0)); then
		id -un
	elif id -u postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

owner_runs() {
	"${as_owner[@]}" "$@"
}

# The sources without what was built from them.  The caller reads, the owner
# writes: a checkout may be closed to others, or read-only.
copy_tree() {
	local products=('*.o' '*.bc' '*.so' '*/__pycache__' ./.git ./sql/damoov--1.0.sql ./tmp_check ./tmp_check_regress ./tmp_check_iso ./output_iso
		./log ./results ./regression.diffs ./regression.out)

	tar -C "$top" --anchored --mode=u+rwX,go+rX "${products[@]/#/--exclude=}" -cf - . |
		owner_runs tar -C "$1" --no-same-owner -xf -
}

in_tree() {
	(cd "$work/tree" && owner_runs "$@")
}

# ---- server -----------------------------------------------------------------

# PostgreSQL finds its files relative to its programs, so a copy works anywhere.
copy_server() {
	local kind path

	find_pg_config
	for kind in bindir pkglibdir sharedir; do
		path=$("$PG_CONFIG" "--$kind")
		owner_runs mkdir -p "$work/server$path"
		quietly owner_runs cp -a "$path/." "$work/server$path/"
	done
	# shellcheck disable=SC2034  # read by those who source this
	bindir=$work/server$("$PG_CONFIG" --bindir)
}

find_pg_config() {
	local version

	version=$(installed_version)
	if [[ -z ${PG_CONFIG:-} && -n $version ]]; then
		PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config
	fi
	PG_CONFIG=$(command -v "${PG_CONFIG:-pg_config}") ||
		die "there is no pg_config, which development files of a server bring; PG_CONFIG=... names one"
	export PG_CONFIG
}

# Builds in the copy of the tree, with the compiler flags given, and installs
# into the copy of the server.
build_extension() {
	quietly in_tree make -s -j"$(nproc)" with_llvm=no "PG_CFLAGS=$1"
	quietly in_tree make -s install with_llvm=no "PG_CFLAGS=$1" "DESTDIR=$work/server"
}
