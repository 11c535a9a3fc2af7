# shellcheck shell=bash
# A server with assertions, made from the source of the installed version, on
# which memory is filled before use and after it is freed: what a plain server
# survives by luck shows there.  Sourced by test/run, after Run.bash.
#
# It is kept in DAMOOV_CACHE (/var/cache/damoov-test, or ~/.cache/damoov-test
# for those who may not write there), so that it is built once a machine.

assert_packages=(bison flex libreadline-dev zlib1g-dev dpkg-dev valgrind)
assert_prefix=    # where the server stands, once built
assert_building=  # process that builds it

# Starts building in the background, where there is something to build.
start_assert_server() {
	choose_cache
	find_assert_server && return
	say "Building a server with assertions meanwhile, into $assert_cache"
	(
		exec >"$work/assert.log" 2>&1 </dev/null
		build_assert_server
	) &
	assert_building=$!
}

await_assert_server() {
	if [[ -n $assert_building ]]; then
		wait "$assert_building" || { tail -n 40 "$work/assert.log"; return 1; }
		assert_building=
	fi
	find_assert_server
}

choose_cache() {
	assert_cache=${DAMOOV_CACHE:-/var/cache/damoov-test}
	mkdir -p "$assert_cache" 2>/dev/null && [[ -w $assert_cache ]] || assert_cache=$caller_home/.cache/damoov-test
	mkdir -p "$assert_cache"
	assert_major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
}

find_assert_server() {
	local found

	for found in "$assert_cache/postgresql-$assert_major".*/done; do
		[[ -f $found ]] && assert_prefix=${found%/done}
	done
	[[ -n $assert_prefix ]]
}

build_assert_server() {
	local source version prefix

	umask 022
	source=$(fetch_source) || return 1
	version=$(sed -n "s/^PACKAGE_VERSION='\(.*\)'/\1/p" "$source/configure")
	prefix=$assert_cache/postgresql-$version
	rm -rf "$prefix"
	# no optimization that hides what is read; valgrind is told of palloc()
	(
		cd "$source" &&
			./configure --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests \
				--with-openssl CFLAGS='-O1 -DUSE_VALGRIND -fno-omit-frame-pointer' &&
			nice make -s -j"$(nproc)" && make -s install && make -s -C contrib install &&
			cp src/tools/valgrind.supp "$prefix/"
	) || return 1
	rm -rf "$source"
	touch "$prefix/done"
}

# Prints the directory of the source: of the installed version where the
# archive has it, else of the newest one of the same major version that it has.
fetch_source() {
	local place=$work/source name=postgresql-$assert_major version

	mkdir -p "$place/lists/partial"
	source_list >"$place/sources.list"
	source_apt update >&2 || return 1
	for version in $(dpkg-query -W -f '${source:Version}' "$name" 2>/dev/null) \
		$(source_apt_cache showsrc "$name" | sed -n 's/^Version: //p' | sort -rV); do
		(cd "$place" && source_apt source --download-only "$name=$version") >&2 || continue
		tar -C "$place" -xf "$place/${name}_${version%-*}.orig.tar."* && break
	done
	[[ -d $place/postgresql-${version%-*} ]] && echo "$place/postgresql-${version%-*}"
}

# The archives of this machine, as archives of sources.
source_list() {
	local file

	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ ! -f $file ]] || sed -n 's/^deb /deb-src /p' "$file"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[[ ! -f $file ]] || perl -00 -ne '
			my %f = /^([\w-]+): *(.*)$/mg;
			next if ($f{Enabled} // "yes") =~ /no/i or $f{Types} !~ /\bdeb\b/;
			my $by = $f{"Signed-By"} ? "[signed-by=$f{q(Signed-By)}] " : "";
			for my $uri (split " ", $f{URIs}) {
				print "deb-src $by$uri $_ $f{Components}\n" for split " ", $f{Suites};
			}' "$file"
	done
}

source_apt() {
	apt-get -q -y -o "Dir::Etc::SourceList=$work/source/sources.list" -o Dir::Etc::SourceParts=- \
		-o "Dir::State::Lists=$work/source/lists" -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

source_apt_cache() {
	apt-cache -o "Dir::Etc::SourceList=$work/source/sources.list" -o Dir::Etc::SourceParts=- \
		-o "Dir::State::Lists=$work/source/lists" "$@"
}

# A server of which each process runs under valgrind, and says what it finds in
# a file of the directory given.
make_watched() {
	local bin=$1 logs=$2 supp=$3

	mv "$bin/postgres" "$bin/postgres.real"
	cat >"$bin/postgres" <<-END
		#!/bin/sh
		case "\$1" in
		-V | --version | -C | --boot | --check | --single | --describe-config) exec "\$0.real" "\$@" ;;
		esac
		exec valgrind --quiet --trace-children=yes --error-markers=FOUND,END --num-callers=20 \\
			--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \\
			--suppressions=$supp --log-file=$logs/%p.log "\$0.real" "\$@"
	END
	chmod +x "$bin/postgres"
}

# What valgrind says in the logs of a directory, but for what the server itself
# leaves behind: of leaks, only those of malloc() under a function of ours.
# Memory of palloc() goes with its context.
found_by_valgrind() {
	perl -0777 -ne '
		while (/^==\d+== FOUND\n(.*?)^==\d+== END\n/msg) {
			my $found = $1;
			if ($found =~ /definitely lost/) {
				next if $found !~ /damoov/ or $found =~ /(?:at|by) 0x\w+: (AllocSet|palloc|MemoryContext)/;
			}
			print "$ARGV\n$found\n";
		}' "$1"/*.log
}
