import Foundation
import Glibc
import Stores
import Values

/// `JournalWriter DIRECTORY`: applies nothing, again and again, and says on stdout what the journal has accepted.
///
/// `R run`, `S run address`, `E run address`, `X run`: each printed after the call that wrote it has returned.
@main
struct JournalWriter {
    static func main() async throws {
        let directory = try DataDirectory(creating: CommandLine.arguments[1])
        let caller = Caller.current(environment: [:])
        let holder = LockHolder(caller: caller, since: Date(), command: "JournalWriter")
        guard case .taken(let lock) = try ApplyLock.take(in: directory, for: holder) else { exit(3) }
        let journal = try Journal.open(in: directory)
        while lock.isHeld {
            let actions = (0..<8).map { number in
                ActionStart(
                    address: "pi-\(number)/Setting/x",
                    kind: "Setting",
                    operation: "update",
                    fingerprint: "f",
                    fields: [.init(path: "value", observed: 1, desired: 2)],
                    steps: ["set x 2"]
                )
            }
            let run = try await journal.begin(RunStart(command: "apply", source: "state", caller: caller, started: Date()), actions: actions)
            say("R \(run)")
            for action in actions {
                try await journal.start(action.address, of: run, at: Date())
                say("S \(run) \(action.address)")
                try await journal.end(action.address, of: run, outcome: .succeeded, message: "", at: Date(), took: .milliseconds(1))
                say("E \(run) \(action.address)")
            }
            try await journal.end(run, outcome: .complete, message: "", at: Date())
            say("X \(run)")
        }
    }

    private static func say(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        _ = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    }
}
