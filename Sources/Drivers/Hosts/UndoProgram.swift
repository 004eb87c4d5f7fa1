/// What runs on a host so that a change which cuts the connection is taken back without us.
///
/// Constant POSIX `sh`; what varies is data: names of our own making as arguments, commands as lines on standard input, kept in files.
///
/// - Guarantees: an undo has one state, the name of one file in its folder, and goes from one to the next by rename. So a confirmation and the
///   undo can't both win, whenever they meet, and a change that arrives late, from a connection that was given up, is not made.
/// - Assumptions: `/run` is empty after a boot, as the runtime state is that the undo is about; root is who root should be.
struct UndoProgram: Sendable {
    /// Where the folders of armed undos are. Each is root's alone; their names can be seen by all.
    var folder = "/run/plumb/undo"
    /// The longest that a change which has begun may hold up its own undo, in seconds.
    var longestChange = 10
    /// Seconds before an undo that failed is tried again; each time that much longer.
    var pause = 1

    /// What `sudo` sees, so that one line of sudoers can allow it.
    static let command = ["sh", "-s", "plumb-undo"]

    /// Says, without root, what is armed: `uptime SECONDS`, then a line an undo, `UPTIME-NAME` or `failed-NAME`.
    var section: HostSection {
        HostSection(
            name: "undo",
            script: """
                [ -d \(folder) ] || exit 0
                IFS='. ' read -r uptime _ </proc/uptime
                echo "uptime $uptime"
                ls \(folder)
                """
        )
    }

    /// The input of `command`: the program, then a call of one of its functions, then what that function reads.
    func request(_ call: String, payload: [String] = [], delimiter: String) -> String {
        """
        plumb_program=
        while IFS= read -r line; do
            plumb_program="$plumb_program$line
        "
        done <<'\(delimiter)'
        \(text)
        \(delimiter)
        eval "$plumb_program"
        plumb_\(call) <<'\(delimiter)'
        \((payload + ["end"]).joined(separator: "\n"))
        \(delimiter)

        """
    }

    /// Lines for `arm`: the change and its undo, each command's arguments as they are and its input escaped.
    static func payload(change: [HostCommand], undo: [HostCommand], about: String) -> [String] {
        func lines(_ commands: [HostCommand], _ list: String) -> [String] {
            commands.enumerated().flatMap { number, command in
                ["step \(list).\(number + 1)"] + command.arguments.map { "argument \($0)" }
                    + (command.input.map { ["input \(ShellScript.escaped(Array($0.utf8)))"] } ?? [])
            }
        }
        return ["about \(ShellScript.escaped(Array(about.utf8)))"] + lines(change, "change") + lines(undo, "inverse")
    }

    /// The states: `pending`, `changing` while the change is made, then `confirmed` or `reverting`. The folder of an undo that did not work is kept
    /// under the name `failed-NAME`.
    var text: String {
        #"""
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
        export PATH LC_ALL
        unset ENV BASH_ENV CDPATH IFS
        umask 077
        cd /

        plumb_all=FOLDER

        plumb_use() {
            undo=$1
            own=$plumb_all/$1
        }

        # Happens or does not, whoever else tries.
        plumb_move() { mv "$own/$1" "$own/$2" 2>/dev/null; }

        plumb_uptime() { IFS='. ' read -r uptime _ </proc/uptime; }

        plumb_clear() {
            rm -rf "$own"
            rmdir "$plumb_all" 2>/dev/null
            :
        }

        plumb_log() { logger -t plumb "$1" 2>/dev/null || :; }

        plumb_stop_timer() {
            if [ -d /run/systemd/system ]; then systemctl stop "plumb-undo-$undo.timer" >/dev/null 2>&1; fi
            :
        }

        plumb_run() {
            step=$own/$1
            set --
            while IFS= read -r argument; do set -- "$@" "$argument"; done <"$step.arguments"
            if [ -e "$step.input" ]; then (exec "$@") <"$step.input"; else (exec "$@") </dev/null; fi
        }

        plumb_refuse() {
            plumb_clear
            echo "refused $1"
            exit 0
        }

        # NAME SECONDS; answers `armed UNDO`, `busy OTHER` or `refused WHY`.
        plumb_arm() {
            mkdir -p "$plumb_all" && chmod 0755 "${plumb_all%/*}" "$plumb_all"
            plumb_uptime
            plumb_use "$((uptime + $2))-$1"
            mkdir "$own" || plumb_refuse "its folder $own can't be made"
            # Of two that come at the same time both may see the other and go.
            for other in "$plumb_all"/*; do
                if [ "$other" != "$own" ] && [ -e "$other" ]; then
                    plumb_clear
                    echo "busy ${other##*/}"
                    exit 0
                fi
            done
            complete=
            while IFS= read -r line; do
                case $line in
                'step '*) step=$own/${line#step } ;;
                'argument '*) printf '%s\n' "${line#argument }" >>"$step.arguments" || plumb_refuse 'it can not be stored' ;;
                'input '*) printf %b "${line#input }" >"$step.input" || plumb_refuse 'it can not be stored' ;;
                'about '*) printf %b "${line#about }" >"$own/about" || plumb_refuse 'it can not be stored' ;;
                end) complete=yes ;;
                esac
            done
            [ -n "$complete" ] && [ -e "$own/inverse.1.arguments" ] || plumb_refuse 'it came in parts'
            printf '%s\n' "$plumb_program" >"$own/program" || plumb_refuse 'it can not be stored'
            # The kernel forgets these when a link goes down, and does not bring them back.
            if head -n 1 "$own"/inverse.*.arguments | grep -qx ip; then
                ip -6 addr save permanent scope global >"$own/addresses" 2>/dev/null
                ip -4 route save table all >"$own/routes-4" 2>/dev/null
                ip -6 route save table all proto static >"$own/routes-6-static" 2>/dev/null
                ip -6 route save table all proto boot >"$own/routes-6-boot" 2>/dev/null
            fi
            if [ -d /run/systemd/system ]; then
                systemd-run --quiet --unit="plumb-undo-$undo" --on-active="$2" --timer-property=AccuracySec=100ms \
                    /bin/sh "$own/program" fire "$undo" </dev/null >"$own/said" 2>&1 ||
                    plumb_refuse "systemd-run does not start a timer: $(head -n 1 "$own/said")"
            else
                command -v setsid >/dev/null || plumb_refuse 'setsid is missing: install util-linux'
                setsid /bin/sh "$own/program" watch "$undo" </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
                tries=0
                until [ -e "$own/watched" ]; do
                    tries=$((tries + 1))
                    [ "$tries" -le 50 ] || plumb_refuse 'the process that would run it does not start'
                    sleep 0.1 2>/dev/null || sleep 1
                done
            fi
            # From here on it counts.
            : >"$own/pending" || plumb_refuse 'it can not be stored'
            echo "armed $undo"
        }

        # Where systemd does not run: our own timer, in a session of its own.
        plumb_watch() {
            trap '' HUP INT
            plumb_use "$1"
            : >"$own/watched"
            while [ -d "$own" ]; do
                plumb_uptime
                if [ "$uptime" -ge "${undo%%-*}" ]; then
                    plumb_fire "$undo"
                    exit 0
                fi
                sleep 1
            done
            exit 0
        }

        # The time is over.
        plumb_fire() {
            trap '' HUP
            plumb_use "$1"
            tries=0
            until plumb_move pending reverting; do
                if [ -e "$own/confirmed" ]; then
                    # Who confirmed takes it away, if that was not the last they did.
                    sleep 5
                    plumb_clear
                    exit 0
                fi
                # Not whether `changing` is there: between two looks the change may end and have gone back to `pending`, which nobody else would undo.
                if [ ! -d "$own" ] || [ -e "$own/reverting" ]; then exit 0; fi
                tries=$((tries + 1))
                if [ "$tries" -gt LONGEST ] && plumb_move changing reverting; then break; fi
                sleep 1
            done
            plumb_log "nobody confirmed: $(cat "$own/about"); undoing it"
            plumb_undo
            exit 0
        }

        # 0: all of it went through, and the folder is gone.
        plumb_undo() {
            tries=0
            while :; do
                failed=
                number=1
                while [ -e "$own/inverse.$number.arguments" ]; do
                    plumb_run "inverse.$number" >>"$own/output" 2>&1 || failed=yes
                    number=$((number + 1))
                done
                if [ -s "$own/addresses" ]; then ip addr restore <"$own/addresses" >/dev/null 2>&1; fi
                for routes in "$own"/routes-*; do
                    if [ -s "$routes" ]; then ip route restore <"$routes" >/dev/null 2>&1; fi
                done
                [ -n "$failed" ] || break
                tries=$((tries + 1))
                if [ "$tries" -ge 5 ]; then
                    plumb_log "could not undo: $(cat "$own/about"): $(tail -n 1 "$own/output")"
                    mv "$own" "$plumb_all/failed-${undo#*-}"
                    return 1
                fi
                sleep "$((tries * PAUSE))"
            done
            plumb_log "undone: $(cat "$own/about")"
            plumb_clear
        }

        # Answers `changed`, `failed NUMBER STATUS`, or `over`: it is not armed any more.
        plumb_change() {
            trap '' HUP PIPE
            plumb_use "$1"
            if ! plumb_move pending changing; then
                echo over
                exit 0
            fi
            number=1
            answer=changed
            while [ -e "$own/change.$number.arguments" ]; do
                plumb_run "change.$number" >&2
                status=$?
                if [ "$status" != 0 ]; then
                    answer="failed $number $status"
                    break
                fi
                number=$((number + 1))
            done
            plumb_move changing pending || answer=over
            echo "$answer"
            exit 0
        }

        # Answers `confirmed`, `changing` or `over`.
        plumb_confirm() {
            plumb_use "$1"
            if plumb_move pending confirmed || [ -e "$own/confirmed" ]; then
                plumb_stop_timer
                plumb_clear
                echo confirmed
            elif [ -e "$own/changing" ] || [ -e "$own/pending" ]; then
                echo changing
            else
                echo over
            fi
            exit 0
        }

        # Answers `undone`, `over`, or `broken` and what the undo printed.
        plumb_revert() {
            trap '' HUP PIPE
            plumb_use "$1"
            if ! plumb_move pending reverting; then
                echo over
            elif plumb_stop_timer; plumb_undo; then
                echo undone
            else
                echo broken
                plumb_use "failed-${undo#*-}"
                tail -n 3 "$own/output"
                plumb_clear
            fi
            exit 0
        }

        plumb_about() {
            plumb_use "$1"
            cat "$own/about" 2>/dev/null
            exit 0
        }

        # An undo whose time has long passed: whoever should have run it is no more. Answers as `revert`.
        plumb_settle() {
            trap '' HUP PIPE
            plumb_use "$1"
            case $undo in
            failed-*)
                echo broken
                tail -n 3 "$own/output"
                plumb_clear
                exit 0
                ;;
            esac
            plumb_stop_timer
            # Twice, for a change that ends in between goes back.
            if plumb_move pending reverting || plumb_move changing reverting || plumb_move pending reverting || [ -e "$own/reverting" ]; then
                if plumb_undo; then
                    echo undone
                else
                    echo broken
                    plumb_use "failed-${undo#*-}"
                    tail -n 3 "$own/output"
                    plumb_clear
                fi
            else
                plumb_clear
                echo over
            fi
            exit 0
        }

        case ${1-} in
        watch | fire) "plumb_$1" "$2" ;;
        esac
        """#
        .replacing("FOLDER", with: folder)
        .replacing("PAUSE", with: String(pause))
        .replacing("LONGEST", with: String(longestChange))
    }
}
