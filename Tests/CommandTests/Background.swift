import Foundation
import Glibc

/// A command that runs beside the test, with what it says in files.
final class Background {
    private let process = Process()
    private let folder: URL

    init(_ command: [String]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-background-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
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
    var output: String { text("output") }
    var errorOutput: String { text("errors") }

    /// Waits for what `condition` asks for; false after 60 s without it.
    func waits(for condition: (Background) -> Bool) async throws -> Bool {
        for _ in 0..<12_000 {
            if condition(self) { return true }
            try await Task.sleep(for: .milliseconds(5))
        }
        return false
    }

    func end() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
    }

    func kill9() {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    private func file(_ name: String) throws -> FileHandle {
        let url = folder.appendingPathComponent(name)
        try Data().write(to: url)
        return try FileHandle(forWritingTo: url)
    }

    private func text(_ name: String) -> String {
        (try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)) ?? ""
    }
}
