# Runs a phase of a build on CodeBuild's machine. plan.sh, beside it, says what
# the phases are: the functions install, build, test and outputs, and limit, the
# most bytes that may be printed.
set -u
src=$CODEBUILD_SRC_DIR
. "$src/plan.sh"

# run TITLE FOLDER COMMAND runs a command with the pipeline's environment and
# nobody else's, and ends what it leaves behind. Exit code 113 is a log that is
# too long.
run() {
	echo "==> $1: $3"
	local began=$SECONDS
	: >>"$src/log"
	local left=$((limit - $(stat -c %s "$src/log")))
	mkfifo "$src/out"
	stdbuf -o0 head -c "$((left + 1))" <"$src/out" | tee -a "$src/log" &
	local reader=$!
	setsid env -i PATH="$PATH:$src/bin" HOME="$src/home" TMPDIR="$src/tmp" /bin/bash -c '
		umask 022
		ulimit -c 0
		. "$1/env.sh"
		# With NODE_ENV=production the devDependencies would be left out.
		if [ "$4" = Install ]; then unset NODE_ENV; fi
		cd "$1/repo/$2" || exit 126
		exec /bin/bash -e -c "$3"' troy "$src" "$2" "$3" "$1" >"$src/out" 2>&1 &
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

case $1 in
source)
	mkdir -p "$src/repo" "$src/home" "$src/tmp"
	tar --extract --no-same-owner --strip-components 1 --file "$src/source" --directory "$src/repo" && rm "$src/source"
	if [ -d "$src/git" ] && ! [ -e "$src/repo/.git" ]; then mv "$src/git" "$src/repo/.git"; fi
	# What is changed from here on is later than the mark, by the file system's
	# clock, which counts in steps.
	touch "$src/mark" "$src/later"
	until [ "$src/later" -nt "$src/mark" ]; do touch "$src/later"; done
	;;
install) install ;;
build) build ;;
test) test_ ;;
archive)
	cd "$src" || exit
	outputs
	if [ "${#list[@]}" -gt 0 ]; then list=(--recursion --exclude repo/.git --exclude repo/node_modules "${list[@]}"); fi
	# The folders that the build wrote to: f for any file, i for an index.html.
	(cd repo && find . \( -name node_modules -o -name .git \) -prune -o -cnewer "$src/mark" \( \
		-type d ! -path . -printf 'f%p\0' -o ! -type d -name index.html -printf 'i%h\0' -o ! -type d -printf 'f%h\0' \)) |
		sort -zu | head -c 16777216 >written
	tar --create --file output.tar --transform 's,^,output/,rhS' --no-recursion written repo ${list[@]+"${list[@]}"}
	;;
esac
