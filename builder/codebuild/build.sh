# Runs a phase of a build on CodeBuild's machine. plan.sh, beside it, says what
# the phases are: the functions install, build, test, outputs and folders, and
# limit, the most bytes that may be printed, and what of the dependency cache to
# get and to keep.
set -u
src=$CODEBUILD_SRC_DIR
. "$src/plan.sh"
# The build works in the same folder each time, because the caches of generators
# contain its name. CODEBUILD_SRC_DIR is another one for each build.
work=/var/tmp/troy
if [ "$1" = source ]; then
	rm -rf "$work"
	mkdir "$work" 2>/dev/null || work=$src
	echo "$work" >"$src/work"
else
	work=$(cat "$src/work") || exit
fi
cd "$work" || exit

# run TITLE FOLDER COMMAND [SCRIPT] runs a command, or the script in its place,
# with the pipeline's environment and nobody else's, and ends what it leaves
# behind. Exit code 113 is a log that is too long.
run() {
	echo "==> $1: $3"
	local began=$SECONDS
	: >>"$src/log"
	local left=$((limit - $(stat -c %s "$src/log")))
	mkfifo "$src/out"
	stdbuf -o0 head -c "$((left + 1))" <"$src/out" | tee -a "$src/log" &
	local reader=$!
	setsid env -i PATH="$PATH:$src/bin" HOME="$work/home" TMPDIR="$work/tmp" /bin/bash -c '
		umask 022
		ulimit -c 0
		cache=$5/cache
		. "$1/env.sh"
		# With NODE_ENV=production the devDependencies would be left out.
		if [ "$4" = Install ]; then unset NODE_ENV; fi
		cd "$5/repo/$2" || exit 126
		exec /bin/bash -e -c "$3"' troy "$src" "$2" "${4:-$3}" "$1" "$work" >"$src/out" 2>&1 &
	local command=$! code=0
	wait -n "$command" "$reader"
	if [ "$(stat -c %s "$src/log")" -gt "$limit" ]; then
		kill -KILL -- "-$command" 2>/dev/null
		code=113
	else
		wait "$command"
		code=$?
		if [ "$code" = 113 ]; then code=1; fi
	fi
	kill -KILL -- "-$command" 2>/dev/null
	wait "$reader"
	rm "$src/out"
	if [ "$(stat -c %s "$src/log")" -gt "$limit" ]; then code=113; fi
	echo "The phase $1 took $((SECONDS - began)) s, until $(date -u +%T) UTC."
	return "$code"
}

# found PATH notes an output folder that is there. What is in another one is
# kept with that.
list=()
found() {
	local folder kept=()
	if ! [ -e "$1" ] && ! [ -L "$1" ]; then return; fi
	for folder in ${list[@]+"${list[@]}"}; do
		case $1/ in "$folder"/*) return ;; esac
		case $folder/ in "$1"/*) ;; *) kept+=("$folder") ;; esac
	done
	list=(${kept[@]+"${kept[@]}"} "$1")
}

# fetch gets the dependency cache. If anything is wrong with it, the build starts
# without.
fetch() {
	if [ -z "$cache_url" ]; then return; fi
	local began=$SECONDS
	if curl -q --config - --silent --show-error --fail --max-time 300 --max-filesize "$cache_limit" --output cache.tar <<<"url = \"$cache_url\"" &&
		timeout 300 tar --extract --no-same-owner --file cache.tar cache; then
		echo "Dependency cache: ready after $((SECONDS - began)) s."
	else
		echo "No dependency cache: it can't be downloaded or unpacked."
		discard
	fi
	rm -f cache.tar
}

discard() {
	chmod -R u+rwX cache 2>/dev/null # Go's modules are read-only
	rm -rf cache
}

# folder_to NAME INSIDE moves a folder of the generator from the cache into the
# repository, unless the repository has it: then it is not a cache.
folder_to() {
	if [ -e "repo/$2" ] || [ -L "repo/$2" ]; then
		echo "$2" >>own
	elif [ -d "cache/folders/$1" ] && ! [ -L "cache/folders/$1" ]; then
		mkdir -p "$(dirname "repo/$2")" && mv "cache/folders/$1" "repo/$2" && moved+="${moved:+, }$2"
	fi
}

# folder_from NAME INSIDE moves it back.
folder_from() {
	if [ -d "repo/$2" ] && ! [ -L "repo/$2" ] && ! grep -qxF -e "$2" own; then
		rm -rf "cache/folders/$1"
		mv "repo/$2" "cache/folders/$1" && moved+="${moved:+, }$2"
	fi
}

# move FUNCTION VERB moves the generator's folders.
move() {
	local moved=
	if ! "$cache_keep"; then return; fi
	touch own
	mkdir -p cache/folders
	folders "$1"
	if [ -n "$moved" ]; then echo "Cache of the generator $2: $moved."; fi
}

# pack makes the file of the cache that Troy keeps if the build succeeds. It is
# empty if the cache did not change.
pack() {
	: >"$src/cache.tar"
	if ! "$cache_keep"; then return; fi
	move folder_from kept
	local size program=()
	if [ -z "$(find cache -type f -cnewer mark ! -path 'cache/npm/_logs/*' ! -name '_update-notifier-last-checked' -print -quit)" ] && ! "$cache_pack"; then
		echo "Dependency cache: unchanged."
		return
	fi
	size=$(du --summarize --apparent-size --bytes cache | cut -f 1)
	if [ "${size:-0}" -gt "$cache_limit" ]; then
		echo "The dependency cache has grown to $((size >> 20)) MiB, more than $((cache_limit >> 20)) MiB; a build starts with an empty one."
		discard
		mkdir cache
	fi
	if command -v zstd >/dev/null; then program=(--use-compress-program 'zstd -1 -T0'); fi
	if ! timeout 300 tar --create --exclude cache/npm/_logs ${program[@]+"${program[@]}"} --file "$src/cache.tar" cache; then
		echo "The dependency cache was not kept: it can't be packed."
		: >"$src/cache.tar"
	fi
}

case $1 in
source)
	mkdir -p repo home tmp
	tar --extract --no-same-owner --strip-components 1 --file "$src/source" --directory repo && rm "$src/source" || exit
	if [ -d "$src/git" ] && ! [ -e repo/.git ]; then mv "$src/git" repo/.git; fi
	fetch
	mkdir -p cache
	# What is changed from here on is later than the mark, by the file system's
	# clock, which counts in steps.
	touch mark later
	until [ later -nt mark ]; do touch later; done
	;;
install) install ;;
build)
	move folder_to restored
	build
	;;
test) test_ ;;
archive)
	outputs
	if [ "${#list[@]}" -gt 0 ]; then list=(--recursion --exclude repo/.git --exclude repo/node_modules "${list[@]}"); fi
	# The folders that the build wrote to: f for any file, i for an index.html.
	(cd repo && find . \( -name node_modules -o -name .git \) -prune -o -cnewer ../mark \( \
		-type d ! -path . -printf 'f%p\0' -o ! -type d -name index.html -printf 'i%h\0' -o ! -type d -printf 'f%h\0' \)) |
		sort -zu | head -c 16777216 >written
	tar --create --file "$src/output.tar" --transform 's,^,output/,rhS' --no-recursion written repo ${list[@]+"${list[@]}"} || exit
	pack
	;;
esac
