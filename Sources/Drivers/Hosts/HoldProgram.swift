/// What runs in a resident shell so that only one Plumb changes its host at a time.
///
/// The kernel's `flock` decides. It is held by `cat`, which reads from a pipe whose other end only the shell has: so it ends with the shell, that is, with
/// the connection, and a step that is under way when the connection goes still has it until it is done.
///
/// - Guarantees: no child of the shell inherits that end (all are started with descriptor 9 closed). Where nobody has given a sign of life for `patience`, the
///   shell is killed, and the lock ends with it: a half-open connection, a laptop that sleeps.
/// - Assumptions: `/run` is empty after a boot. The commands that need root are three and constant, so that narrow rights are enough.
struct HoldProgram: Sendable {
    /// Root's, readable by all; in it `lock`, which is root's alone, so that nobody else can take the lock.
    var folder = "/run/plumb"
    /// Seconds without a sign of life after which the shell is killed; longer than any step.
    var patience = 90
    /// How often a holder that is just ending is waited for, a tenth of a second each.
    var tries = 20

    /// How often a sign of life is given.
    static let beat = Duration.seconds(10)

    /// The commands that need root, as sudoers has to allow them.
    var privileged: [String] {
        ["/usr/bin/mkdir -p -m 0700 \(folder)/lock", "/usr/bin/flock -n -E 75 \(folder)/lock/host cat", "/usr/bin/tee \(folder)/holder"]
    }

    /// Says, without root, who holds the host or held it last: a line `TOKEN open|done PID START SINCE WHO`, then `alive` where that shell still runs.
    var section: HostSection {
        HostSection(
            name: "hold",
            script: """
                [ -s \(folder)/holder ] || exit 0
                IFS= read -r line <\(folder)/holder
                printf '%s\\n' "$line"
                set -f
                set -- $line
                [ "$2" = open ] && case $(cut -d' ' -f3,22 "/proc/$3/stat" 2>/dev/null) in
                [!ZX]" $4") echo alive ;;
                esac
                :
                """
        )
    }

    /// Takes the lock, unless something was changed since `expected` was seen.
    ///
    /// Answers `held` and two lines, what now says that we hold it and what was there before; `busy`, `moved`, each with the line that is there;
    /// `paused` and what `PauseFile` reads; `missing TOOL`; or `refused WHAT`, with the reason on standard error.
    ///
    /// - Parameters:
    ///   - expected: The first two words of the line that was there when the plan was made; empty: there was none.
    ///   - who: One line for people.
    ///   - heedsPause: Whether the host is left alone while it is paused.
    func hold(token: String, expected: String, who: String, heedsPause: Bool, separator: String) -> String {
        let call = "plumb_hold \(heedsPause ? "heed" : "go")"
        return text + Self.framed("\(call) <<'\(separator)'\n\(token)\n\(expected)\n\(who)\n\(separator)\n", separator: separator)
    }

    /// Writes what others are to find, and gives the lock back.
    func release(leaving line: String, separator: String) -> String {
        Self.framed("plumb_release <<'\(separator)'\n\(line)\n\(separator)\n", separator: separator)
    }

    /// The sign of life.
    func beat(separator: String) -> String { "echo beat >&9\n" + ShellScript.heartbeat(separator: separator) }

    private static func framed(_ call: String, separator: String) -> String {
        "plumb_say \(separator) begin 0\n\(call)plumb_say \(separator) end 0 \"$?\"\nplumb_say \(separator) done\n"
    }

    private var text: String {
        #"""
        plumb_line() {
            plumb_line=
            if [ -s FOLDER/holder ]; then IFS= read -r plumb_line <FOLDER/holder; fi
        }

        # Whether the holder of that line is about to go, or is an earlier connection of ours, which is sent away.
        plumb_is_ending() {
            set -f
            set -- $plumb_line
            set +f
            [ "$2" = open ] || return 0
            case $(cut -d' ' -f3,22 "/proc/$3/stat" 2>/dev/null) in
            [!ZX]" $4") [ "$1" = "$plumb_token" ] && kill -9 "$3" 2>/dev/null ;;
            esac
        }

        plumb_keep() {
            {
                echo held
                while :; do
                    plumb_beat=$(timeout PATIENCE head -n 1)
                    plumb_status=$?
                    [ -n "$plumb_beat" ] || break
                done
                [ "$plumb_status" != 124 ] || kill -9 "$$" 2>/dev/null
            } | {
                $SUDO flock -n -E 75 FOLDER/lock/host cat
                echo "ended $?"
            }
        }

        plumb_try() {
            plumb_pipe=
            for plumb_place in "${XDG_RUNTIME_DIR:-/run/user/${plumb_uid:=$(id -u)}}" /dev/shm /tmp; do
                [ -d "$plumb_place" ] && plumb_pipe=$(mktemp -d "$plumb_place/plumb.XXXXXXXX" 2>/dev/null) && break
            done
            if [ -z "$plumb_pipe" ] || ! mkfifo "$plumb_pipe/in"; then
                plumb_word='no pipe'
                return
            fi
            exec 9<>"$plumb_pipe/in"
            # By `exec`, for a shell keeps a copy of what it closes for a single command.
            plumb_word=$({ (exec <"$plumb_pipe/in" 9>&-; plumb_keep) & } | { IFS= read -r plumb_word && printf '%s\n' "$plumb_word"; })
            rm -rf "$plumb_pipe" </dev/null >/dev/null 2>&1 9>&- &
            [ "$plumb_word" = held ] || exec 9>&-
        }

        # When this shell was started, as the kernel counts it: the 22nd word, the 20th after the name. Without a process, for each costs a millisecond.
        plumb_started() {
            IFS= read -r plumb_start <"/proc/$$/stat"
            set -f
            set -- ${plumb_start##*) }
            set +f
            shift 19
            plumb_start=$1
        }

        plumb_hold() {
            IFS= read -r plumb_token
            IFS= read -r plumb_expected
            IFS= read -r plumb_who
            if [ "$1" = heed ] && plumb_paused; then
                printf '%s\n' paused "$plumb_reason"
                return
            fi
            for plumb_tool in flock timeout mkfifo mktemp; do
                if ! command -v "$plumb_tool" >/dev/null; then
                    echo "missing $plumb_tool"
                    return
                fi
            done
            if [ ! -d FOLDER/lock ] && ! $SUDO mkdir -p -m 0700 FOLDER/lock </dev/null; then
                echo 'refused mkdir'
                return
            fi
            plumb_tries=0
            while :; do
                plumb_try
                [ "$plumb_word" = 'ended 75' ] || break
                plumb_line
                plumb_tries=$((plumb_tries + 1))
                if [ "$plumb_tries" -gt TRIES ] || ! plumb_is_ending; then
                    echo busy
                    printf '%s\n' "$plumb_line"
                    return
                fi
                sleep 0.1 2>/dev/null || sleep 1
            done
            if [ "$plumb_word" != held ]; then
                echo "refused ${plumb_word:-flock}"
                return
            fi
            plumb_line
            case $plumb_line in
            "$plumb_expected" | "$plumb_expected "*) ;;
            *)
                exec 9>&-
                echo moved
                printf '%s\n' "$plumb_line"
                return
                ;;
            esac
            plumb_started
            plumb_new="$plumb_token open $$ $plumb_start $(date -u +%Y-%m-%dT%H:%M:%SZ) $plumb_who"
            if ! printf '%s\n' "$plumb_new" | $SUDO tee FOLDER/holder >/dev/null; then
                exec 9>&-
                echo 'refused tee'
                return
            fi
            printf '%s\n' held "$plumb_new" "$plumb_line"
        }

        plumb_release() {
            IFS= read -r plumb_line
            printf '%s\n' "$plumb_line" | $SUDO tee FOLDER/holder >/dev/null
            plumb_status=$?
            exec 9>&-
            return "$plumb_status"
        }

        """#
        .replacing("FOLDER", with: folder)
        .replacing("PATIENCE", with: String(patience))
        .replacing("TRIES", with: String(tries))
    }
}
