import Foundation
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

/// A process that runs beside us, with what it says in files, so that nothing is lost when it is killed.
final class Child {
    private let process = Process()
    private let folder: URL
    private let begin = ContinuousClock.now

    init(_ command: [String], environment: [String: String] = [:]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-fault-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try file("output")
        process.standardError = try file("errors")
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: folder)
    }

    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
    var output: String { text("output") }
    var errors: String { text("errors") }
    var events: [Event] { Event.read(output) }

    func signal(_ number: Int32) { if process.isRunning { kill(process.processIdentifier, number) } }

    /// - Returns: false where it ended, or took longer than `limit` seconds, without it.
    func waits(limit: Double = 60, for condition: () -> Bool) -> Bool {
        waitUntil(limit: limit) { condition() || !isRunning } && condition()
    }

    /// Its end; one that takes longer than `limit` seconds is killed, and has no status.
    func end(limit: Double = 120) -> Outcome {
        let ended = waitUntil(limit: limit) { !process.isRunning }
        if !ended { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
        let code = process.terminationStatus
        let status = process.terminationReason == .exit ? code : 128 + code
        return Outcome(status: ended ? status : nil, output: output, errors: errors, seconds: (ContinuousClock.now - begin) / .seconds(1))
    }

    private func file(_ name: String) throws -> FileHandle {
        let url = folder.appendingPathComponent(name)
        try Data().write(to: url)
        return try FileHandle(forWritingTo: url)
    }

    private func text(_ name: String) -> String {
        (try? Data(contentsOf: folder.appendingPathComponent(name))).map { String(decoding: $0, as: UTF8.self) } ?? ""
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
