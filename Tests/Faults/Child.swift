import Foundation
import Glibc
import Values

/// How a process ended and what it said.
struct Outcome: Sendable {
    /// 128 + N where signal N ended it; nil: it did not end in the time that it had, and was killed.
    var status: Int32?
    var output: String
    var errors: String
    var seconds: Double

    var document: Value? { try? Value(json: output.utf8) }
    var events: [Event] { Event.read(output) }
    /// For a report: the end of what it said.
    var said: String { "status \(status.map(String.init) ?? "none, it hung"), \(tail(output)) | \(tail(errors))" }

    private func tail(_ text: String) -> String { String(text.suffix(600)).replacingOccurrences(of: "\n", with: "⏎") }
}

/// One line of `plumb apply --output jsonl`.
struct Event: Sendable, Hashable {
    var type: String
    var address: String
    var message: String

    /// The last line may be cut short, where its writer was killed.
    static func read(_ output: String) -> [Event] {
        output.split(separator: "\n").compactMap { line in
            guard let value = try? Value(json: line.utf8), let type = value["type"]?.stringValue else { return nil }
            return Event(type: type, address: value["address"]?.stringValue ?? "", message: value["message"]?.stringValue ?? "")
        }
    }
}

/// A process that runs beside us, with what it says in files, so that nothing is lost when it is killed. Used by one thread.
///
/// Started without Foundation, whose processes hang now and then where several threads wait for theirs.
final class Child {
    let pid: pid_t
    private let folder: String
    private let begin = ContinuousClock.now
    private var raw: Int32 = 0
    private var status: Int32?

    init(_ command: [String], environment changes: [String: String?] = [:]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-fault-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "\(folder)/output", O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, "\(folder)/errors", O_WRONLY | O_CREAT, 0o600)
        let variables = changes.reduce(into: ProcessInfo.processInfo.environment) { $0[$1.key] = $1.value }
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in arguments + environment { free(text) } }
        var pid = pid_t()
        let error = posix_spawnp(&pid, command[0], &actions, nil, &arguments, &environment)
        guard error == 0 else { throw LabFailure(description: "\(command[0]): \(String(cString: strerror(error)))") }
        self.pid = pid
    }

    deinit {
        if isRunning {
            kill(pid, SIGKILL)
            waitpid(pid, &raw, 0)
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    var isRunning: Bool {
        if status != nil { return false }
        guard waitpid(pid, &raw, WNOHANG) == pid else { return true }
        // As a shell has it.
        status = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F)
        return false
    }

    var output: String { text("output") }
    var errors: String { text("errors") }
    var events: [Event] { Event.read(output) }

    func signal(_ number: Int32) { if isRunning { kill(pid, number) } }

    /// - Returns: false where it ended, or took longer than `limit` seconds, without it.
    func waits(limit: Double = 60, for condition: () -> Bool) -> Bool {
        waitUntil(limit: limit) { condition() || !isRunning } && condition()
    }

    /// Its end; one that takes longer than `limit` seconds is killed, and has no status.
    func end(limit: Double = 120) -> Outcome {
        let hasEnded = waitUntil(limit: limit) { !isRunning }
        if !hasEnded {
            kill(pid, SIGKILL)
            _ = waitUntil(limit: 10) { !isRunning }
        }
        return Outcome(status: hasEnded ? status : nil, output: output, errors: errors, seconds: (ContinuousClock.now - begin) / .seconds(1))
    }

    private func text(_ name: String) -> String {
        (try? Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
}

/// Looks again and again until it is so.
func waitUntil(limit: Double, every pause: Double = 0.005, _ condition: () -> Bool) -> Bool {
    let end = ContinuousClock.now + .seconds(limit)
    while !condition() {
        guard ContinuousClock.now < end else { return false }
        Thread.sleep(forTimeInterval: pause)
    }
    return true
}
