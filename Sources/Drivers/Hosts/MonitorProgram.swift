internal import SSH

/// What runs on a host so that it tells what happens there.
///
/// `ip monitor` and `nft monitor` write straight to the terminal or pipe that is the channel. What they say can be told apart by its shape; our own
/// lines begin with a random tag.
///
/// - Guarantees: with a terminal the kernel hangs up on all of it when the channel goes (this shell is not interactive, so it is all one process group).
///   Where no sign of life came for `patience`, it ends by itself: a half-open connection, a laptop that sleeps.
struct MonitorProgram: Sendable {
    /// Seconds without a sign of life after which it ends.
    var patience = 90

    /// The login shell is anybody's: this is the same in sh, bash, zsh, csh and fish. Not `sh -s`: with a terminal that would be interactive.
    static let command = #"exec /bin/sh -c 'eval "$(while IFS= read -r l; do [ "$l" = end ] && break; printf "%s\n" "$l"; done)"'"#

    /// What is sent after `command`. It answers lines `TAG begin SOURCE`, `TAG missing SOURCE TOOL` and `TAG ended SOURCE STATUS`, then `TAG ready`,
    /// and `TAG beat` to each line that it gets.
    ///
    /// - Parameter hasTerminal: Without one, what runs as somebody else could not be ended, so it is not started.
    func text(tag: String, sources: Set<HostEventSource>, usesSudo: Bool, hasTerminal: Bool) -> String {
        var calls = ""
        if sources.contains(.links) { calls += "plumb_start links ip 0 1 ip -o monitor link\nip -o link 2>/dev/null </dev/null\n" }
        if sources.contains(.ruleset) {
            let start = "plumb_start ruleset nft 12 64 $SUDO nft monitor\n"
            calls += hasTerminal ? start : "if [ -z \"$SUDO\" ]; then \(start.dropLast()); else plumb_say missing ruleset terminal; fi\n"
        }
        return Self.functions
            .replacing("TAG", with: tag)
            .replacing("SUDO_OR_NOT", with: usesSudo ? "[ \"$(id -u)\" = 0 ] || SUDO='sudo -n'" : ":")
            .replacing("PATIENCE", with: String(patience))
            .replacing("CALLS\n", with: calls) + "\nend\n"
    }

    private static let functions = #"""
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
        export PATH LC_ALL
        unset ENV BASH_ENV CDPATH IFS
        cd /
        SUDO=
        SUDO_OR_NOT
        plumb_say() { printf '\n%s %s\n' TAG "$*"; }
        plumb_listeners() {
            while read -r _ plumb_family plumb_port plumb_groups _; do
                [ "$plumb_family" = "$1" ] && [ "$((0x$plumb_groups & $2))" != 0 ] && printf '%s ' "$plumb_port"
            done </proc/net/netlink 2>/dev/null
        }
        plumb_listens() {
            for plumb_one in $(plumb_listeners "$1" "$2"); do
                case $plumb_before in *" $plumb_one "*) ;; *) return 0 ;; esac
            done
            return 1
        }
        plumb_runs() {
            case $(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null) in '' | Z | X) return 1 ;; esac
        }
        # SOURCE TOOL FAMILY GROUP COMMAND…: what the kernel tells is complete once the tool's socket listens.
        plumb_start() {
            plumb_say begin "$1"
            if ! command -v "$2" >/dev/null; then
                plumb_say missing "$1" "$2"
                return
            fi
            plumb_source=$1 plumb_net=$3 plumb_bit=$4
            plumb_before=" $(plumb_listeners "$3" "$4") "
            shift 4
            # sudo forgets a hang-up that comes before it has started its command: the end of this shell is one that comes later.
            plumb_gone=
            trap plumb_gone=1 HUP
            {
                "$@"
                plumb_say ended "$plumb_source" "$?"
            } </dev/null 2>&1 &
            plumb_child=$!
            plumb_tries=0
            until plumb_listens "$plumb_net" "$plumb_bit"; do
                plumb_runs "$plumb_child" || break
                [ "$plumb_tries" -lt 150 ] || break
                if sleep 0.02 2>/dev/null; then
                    plumb_tries=$((plumb_tries + 1))
                else
                    sleep 1
                    plumb_tries=$((plumb_tries + 50))
                fi
            done
            trap - HUP
            [ -z "$plumb_gone" ] || exit 1
        }
        CALLS
        if timeout --foreground 1 true 2>/dev/null; then
            plumb_limit='timeout --foreground PATIENCE'
        elif command -v timeout >/dev/null; then
            plumb_limit='timeout PATIENCE'
        else
            plumb_limit=
        fi
        plumb_say ready
        while [ -n "$($plumb_limit head -n 1)" ]; do plumb_say beat; done
        trap '' HUP
        kill -HUP 0
        """#

    /// Tells our lines from all others.
    static func tag() -> String { "plumb-\(String(UInt64.random(in: .min ... .max), radix: 16))" }
}
