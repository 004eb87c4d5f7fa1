/// How one command is run: by a constant script that reads the command's arguments and then leaves the rest of its input to the command. So neither
/// arguments nor input ever become shell text.
enum StepScript {
    /// Reads: the separator, `sudo` or `-`, the number of arguments, the arguments, a line each. Without single quotes, since it stands in them.
    private static let script = """
        LC_ALL=C PATH=\(ProbeScript.path); export LC_ALL PATH; unset ENV BASH_ENV; \
        read -r mark; read -r sudo; read -r count; set --; \
        if [ "$sudo" = sudo ] && [ "$(id -u)" != 0 ]; then set -- sudo -n --; fi; \
        while [ "$count" -gt 0 ]; do IFS= read -r word; set -- "$@" "$word"; count=$((count - 1)); done; \
        printf "\\n%s\\n" "$mark"; printf "\\n%s\\n" "$mark" >&2; exec "$@"
        """

    static let command = "exec /bin/sh -c '\(script)'"

    /// What goes to the script's standard input, and is the command's from where the arguments end.
    static func input(_ command: HostCommand, usesSudo: Bool, separator: String) -> [UInt8] {
        let head = [separator, usesSudo && command.needsRoot ? "sudo" : "-", String(command.arguments.count)] + command.arguments
        return Array((head.joined(separator: "\n") + "\n").utf8) + Array((command.input ?? "").utf8)
    }

    /// Why these arguments can't be sent, or nil.
    static func refusal(of command: HostCommand) -> String? {
        if command.arguments.isEmpty { return "there is no command to run" }
        for argument in command.arguments where argument.unicodeScalars.contains(where: { $0 == "\n" || $0 == "\0" }) {
            return "an argument has a line feed or a NUL in it"
        }
        if command.input?.unicodeScalars.contains("\0") == true { return "the input has a NUL in it" }
        return nil
    }
}

/// The answer to one command.
struct StepAnswer: Sendable {
    private let separator: String
    private var output: [UInt8] = []
    private var errors: [UInt8] = []

    init(separator: String) { self.separator = separator }

    /// Bytes that one command may print.
    static let limit = 4 << 20

    mutating func receive(output bytes: [UInt8]) { output += bytes }
    mutating func receive(errorOutput bytes: [UInt8]) { errors += bytes }

    var isTooLarge: Bool { output.count + errors.count > Self.limit }

    /// The script has read the arguments and handed over to the command.
    var hasStarted: Bool { Self.after(separator, in: output) != nil }

    func result(status: Int32) -> CommandResult {
        CommandResult(
            status: status,
            output: String(decoding: Self.after(separator, in: output) ?? [], as: UTF8.self),
            errorOutput: String(decoding: Self.after(separator, in: errors) ?? errors[...], as: UTF8.self)
        )
    }

    /// What follows the separator's line; nil where it has not come.
    private static func after(_ separator: String, in bytes: [UInt8]) -> ArraySlice<UInt8>? {
        let mark = Array("\n\(separator)\n".utf8)
        guard bytes.count >= mark.count else { return nil }
        for start in 0...(bytes.count - mark.count) where bytes[start] == mark[0] && bytes[start..<(start + mark.count)].elementsEqual(mark) {
            return bytes[(start + mark.count)...]
        }
        return nil
    }
}
