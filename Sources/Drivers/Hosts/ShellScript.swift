/// What a resident shell is sent. Everything here is constant but the separator, the sections of the probe, which are constant in their kinds, and
/// data in here-documents with a quoted delimiter, in which a shell expands nothing.
enum ShellScript {
    /// The login shell is anybody's: this is the same in sh, bash, zsh, csh and fish.
    static let command = "exec /bin/sh -s"

    /// A separator that nobody can guess; also the delimiter of here-documents.
    static func separator() -> String {
        var generator = SystemRandomNumberGenerator()
        let digits = (0..<2).map { _ in
            let text = String(generator.next(), radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text
        }
        return "plumb-\(digits.joined())"
    }

    /// Sent once, before the first request. `dash` reads its script in blocks, so what a command is to read from us can't follow on standard input:
    /// it comes in here-documents. Descriptor 9 is the shell's hold on its host (see HoldProgram), and nobody else's.
    static func prelude(usesSudo: Bool, pauseFile: String) -> String {
        """
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
        export PATH LC_ALL
        unset ENV BASH_ENV CDPATH IFS
        umask 022
        cd /
        SUDO=
        \(usesSudo ? "[ \"$(id -u)\" = 0 ] || SUDO='sudo -n'" : ":")
        plumb_say() { printf '\\n%s\\n' "$*"; printf '\\n%s\\n' "$*" >&2; }
        \(PauseFile.functions(path: pauseFile))
        plumb_run() {
            plumb_separator=$1 plumb_prefix=$2 plumb_input=$3 plumb_heed=$4
            IFS= read -r plumb_count
            set --
            while [ "$plumb_count" -gt 0 ]; do
                IFS= read -r plumb_argument
                set -- "$@" "$plumb_argument"
                plumb_count=$((plumb_count - 1))
            done
            if [ "$plumb_heed" = heed ] && plumb_paused; then
                plumb_say "$plumb_separator" begin \(pausedNumber)
                printf '%s\\n' "$plumb_reason"
                plumb_say "$plumb_separator" end \(pausedNumber) 0
                return
            fi
            plumb_say "$plumb_separator" begin 0
            if [ "$plumb_input" = none ]; then
                (exec $plumb_prefix "$@") </dev/null 9>&-
            else
                printf %b "$(cat)" | (exec $plumb_prefix "$@") 9>&-
            fi
            plumb_say "$plumb_separator" end 0 "$?"
        }

        """
    }

    /// All sections after one another. Each in a subshell of its own, and in `eval`, so that not even a syntax error leaves it.
    static func probe(_ sections: [String], separator: String) -> String {
        var script = ""
        for (number, section) in sections.enumerated() {
            script += """
                plumb_say \(separator) begin \(number)
                (eval \(quoted(section))) </dev/null 9>&-
                plumb_say \(separator) end \(number) "$?"

                """
        }
        return script + "plumb_say \(separator) done\n"
    }

    /// One command. Its name is looked up as a program, never as a builtin of the shell: `exec` sees to that.
    static func run(_ command: HostCommand, separator: String) -> String {
        let input = command.input.map { escaped(Array($0.utf8)) }
        let prefix = command.needsRoot ? "\"$SUDO\"" : "''"
        let call = "plumb_run \(separator) \(prefix) \(input == nil ? "none" : "given") \(command.heedsPause ? "heed" : "go")"
        var script = "\(call) <<'\(separator)'\n\(command.arguments.count)\n"
        for argument in command.arguments { script += argument + "\n" }
        if let input { script += input + "\n" }
        return script + "\(separator)\nplumb_say \(separator) done\n"
    }

    /// Under which the shell answers, in place of the command, that the host is paused.
    static let pausedNumber = 1

    /// Shows that the shell still answers.
    static func heartbeat(separator: String) -> String { "plumb_say \(separator) done\n" }

    private static func quoted(_ script: String) -> String {
        "'" + script.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
    }

    /// For `printf %b`: one line of printable ASCII that stands for any bytes, zeros and a missing last line feed among them.
    static func escaped(_ bytes: [UInt8]) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + bytes.count / 8)
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\\"): result += [byte, byte]
            case UInt8(ascii: "\n"): result += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            case 0x20...0x7e: result.append(byte)
            default:
                result += [UInt8(ascii: "\\"), UInt8(ascii: "0")]
                for shift in [6, 3, 0] { result.append(UInt8(ascii: "0") + (byte >> UInt8(shift)) & 7) }
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Why a command can't be sent, or nil.
    static func objection(to command: HostCommand) -> String? {
        guard let name = command.arguments.first, let first = name.utf8.first else { return "it has no name" }
        let isSafe = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "/"): true
            default: false
            }
        }
        // Before `sudo -n` a name with `=` would be a variable, one with `-` an option.
        guard isSafe, first != UInt8(ascii: "-") else { return "its name is not that of a program" }
        if command.arguments.contains(where: { $0.utf8.contains(UInt8(ascii: "\n")) }) { return "an argument has a line feed in it" }
        if command.arguments.contains(where: { $0.utf8.contains(0) }) { return "an argument has a zero byte in it" }
        return nil
    }
}
