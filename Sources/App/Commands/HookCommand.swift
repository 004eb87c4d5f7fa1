import ArgumentParser
import Controller
import Foundation
import Glibc
import Reporting
import Stores
import Values

struct HookCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hook",
        abstract: "Let a bare repository tell 'plumb run' of each push.",
        discussion: """
            For repositories on this machine that are pushed to over SSH. There is no secret: the daemon asks the kernel who speaks.
            Whoever pushes must reach the daemon's socket; 'socket.group' in the daemon's configuration names the group that may.
            """,
        subcommands: [Install.self, Remove.self, Notify.self]
    )

    struct Install: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write the repository's post-receive hook.",
            discussion: "A hook that is not Plumb's is left alone. Exit status: 0 when the hook is in place, else 1."
        )

        @Argument(help: ArgumentHelp("The repository.", valueName: "repo.git"))
        var repository: String

        @Option(help: ArgumentHelp("The daemon's socket (default: control.sock in the data directory).", valueName: "path"))
        var socket: String?

        @Option(help: ArgumentHelp("Tell of this ref only: main, refs/tags/live.", valueName: "ref"))
        var ref: String?

        @Option(help: ArgumentHelp("How long a push waits for its outcome; 0s: not at all.", valueName: "duration"))
        var wait = WaitArgument(seconds: 30)

        @OptionGroup var dataDirectory: DataDirectoryOption

        func run() async throws {
            let terminal = Terminal(plain: true)
            do throws(HookFailure) {
                let repository = try BareRepository(repository)
                let program = try HookScript.ownProgram()
                let socket = try HookScript.absolute(chosenSocket())
                let script = HookScript(program: program, socket: socket, repository: repository.path, ref: ref, wait: wait.description)
                let file = try repository.install(script.text)
                terminal.write("Wrote \(Escaping.shown(file)).\n")
                for warning in script.warnings { terminal.writeError("warning: \(Escaping.shown(warning))\n") }
            } catch {
                throw error.exit(terminal)
            }
        }

        private func chosenSocket() throws(HookFailure) -> String {
            if let socket { return socket }
            guard let path = dataDirectory.path else { throw HookFailure("where the daemon's socket is is not known", fix: "Give --socket.") }
            return "\(path)/\(ControlSocket.fileName)"
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take Plumb's hook out of the repository.")

        @Argument(help: ArgumentHelp("The repository.", valueName: "repo.git"))
        var repository: String

        func run() async throws {
            let terminal = Terminal(plain: true)
            do throws(HookFailure) {
                let removed = try BareRepository(repository).remove()
                terminal.write(removed.isEmpty ? "There is no hook of Plumb's.\n" : removed.map { "Removed \(Escaping.shown($0)).\n" }.joined())
            } catch {
                throw error.exit(terminal)
            }
        }
    }

    struct Notify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Called by the hook: tell the daemon what was pushed, and say what became of it.",
            discussion: "Reads git's lines (OLD NEW REF). Always ends with 0: a push is never failed by this.",
            shouldDisplay: false
        )

        @Option var socket: String
        @Option var repository: String
        @Option var ref: String?
        @Option var wait = WaitArgument(seconds: 30)

        /// More than this is no push.
        private static let longestInput = 4 << 20
        private static let mostLines = 50

        func run() async throws {
            let terminal = Terminal(plain: true)
            let lines = Self.input().split(separator: "\n").compactMap { HookLine($0) }.filter { isWanted($0.ref) }
            guard !lines.isEmpty else { return }
            let request = ControlRequest.push(repository: repository, lines: lines, wait: .seconds(wait.seconds))
            var said = false
            do throws(ControlFailure) {
                let last = try ControlClient.send(request, to: socket, timeout: .seconds(wait.seconds + 5)) { reply in
                    if reply["accepted"]?.boolValue == true, reply["lines"] == nil { said = true }
                }
                let outcome = (last["lines"]?.arrayValue ?? []).prefix(Self.mostLines).compactMap(\.stringValue)
                for line in outcome { terminal.write("plumb: \(Escaping.shortened(line, limit: 300))\n") }
                if last["done"]?.boolValue != true, wait.seconds > 0 {
                    terminal.write("plumb: not through after \(wait.description); it goes on, see 'plumb status'\n")
                } else if outcome.isEmpty, wait.seconds == 0 {
                    terminal.write("plumb: told\n")
                }
            } catch {
                let consequence = said ? "it was told and goes on" : "the next poll finds the push"
                terminal.write("plumb: \(Escaping.shortened(error.message, limit: 300)); \(consequence)\n")
            }
        }

        private func isWanted(_ name: String) -> Bool {
            guard let ref else { return true }
            return name == ref || name == "refs/heads/\(ref)" || name == "refs/tags/\(ref)"
        }

        /// All of it, also what is too much: git writes until somebody has read.
        private static func input() -> String {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            while true {
                let count = read(STDIN_FILENO, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { break }
                if bytes.count < longestInput { bytes += buffer[..<count] }
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}

/// `30s`, `2m`; `0s` for not at all.
struct WaitArgument: ExpressibleByArgument, CustomStringConvertible {
    let seconds: Int
    var description: String { "\(seconds)s" }

    init(seconds: Int) { self.seconds = seconds }

    init?(argument: String) {
        guard let duration = Duration(words: argument), duration >= .zero, duration <= .seconds(3600) else { return nil }
        seconds = Int(duration.components.seconds) + (duration.components.attoseconds > 0 ? 1 : 0)
    }

    var defaultValueDescription: String { description }
}

struct HookFailure: Error {
    var message: String
    var fix: String

    init(_ message: String, fix: String) {
        self.message = message
        self.fix = fix
    }

    func exit(_ terminal: Terminal) -> ExitCode {
        terminal.writeError("error: \(Escaping.shown(message))\n    \(Escaping.lines(fix, indent: "    "))\n")
        return ExitCode(1)
    }
}
