import Foundation
import Reporting

#if canImport(Glibc)
import Glibc
#endif

/// The two streams of a command: stdout carries the result, stderr everything else.
struct Terminal: Sendable {
    /// Colours for stdout.
    let output: Style
    /// Colours for stderr.
    let errors: Style
    let errorsAreTerminal: Bool
    let inputIsTerminal: Bool

    /// - Parameter plain: `--no-color`. `NO_COLOR` and `TERM=dumb` count as well.
    init(plain: Bool, environment: [String: String] = ProcessInfo.processInfo.environment) {
        let mayColour = !plain && (environment["NO_COLOR"] ?? "").isEmpty && environment["TERM"] != "dumb"
        errorsAreTerminal = isatty(STDERR_FILENO) == 1
        inputIsTerminal = isatty(STDIN_FILENO) == 1
        output = Style(isColoured: mayColour && isatty(STDOUT_FILENO) == 1)
        errors = Style(isColoured: mayColour && errorsAreTerminal)
    }

    func write(_ text: String) { Self.write(text, to: STDOUT_FILENO) }

    func writeError(_ text: String) { Self.write(text, to: STDERR_FILENO) }

    /// Asks on stderr and reads one line from the terminal; nil at its end.
    func ask(_ question: String) -> String? {
        writeError(question)
        return readLine()
    }

    /// Asks without showing what is typed; nil where there is no terminal. The terminal is left as it was found.
    static func askSecret(_ question: String) -> String? {
        let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC)
        guard terminal >= 0 else { return nil }
        defer { close(terminal) }
        var before = termios()
        guard tcgetattr(terminal, &before) == 0 else { return nil }
        var silent = before
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(terminal, TCSAFLUSH, &silent)
        defer {
            tcsetattr(terminal, TCSAFLUSH, &before)
            write("\n", to: terminal)
        }
        write(question, to: terminal)
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while read(terminal, &byte, 1) == 1, byte != UInt8(ascii: "\n"), bytes.count < 4096 { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Everything, or nothing more once the reader has gone (`plumb plan | head`).
    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { buffer in
            var rest = UnsafeRawBufferPointer(buffer)
            while let start = rest.baseAddress, !rest.isEmpty {
                let count = Glibc.write(descriptor, start, rest.count)
                if count < 0, errno == EINTR || errno == EAGAIN { continue }
                guard count > 0 else { return }
                rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
            }
        }
    }
}
