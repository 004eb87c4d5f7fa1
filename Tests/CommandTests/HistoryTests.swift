import Foundation
import Glibc
import Testing
import Values

/// The journal and the lock as the program's users meet them; no lab needed.
struct HistoryTests {
    @Test func nothingYet() async throws {
        try await withFolder { folder in
            let text = try await run([plumb, "history", "--data-dir", "\(folder)/data"])
            #expect(text.status == 0 && text.output == "No runs yet.\n")
            let json = try await run([plumb, "history", "--output", "json", "--data-dir", "\(folder)/data"])
            #expect(try json.document == ["formatVersion": "1", "runs": []])
            let none = try await run([plumb, "history", "7", "--data-dir", "\(folder)/data"])
            #expect(none.status == 1 && none.output.isEmpty && none.errorOutput.contains("there is no run 7"))
            let unlock = try await run([plumb, "unlock", "--reason", "because", "--data-dir", "\(folder)/data"])
            #expect(unlock.status == 0 && unlock.output == "Nothing is locked.\n")
            #expect(!FileManager.default.fileExists(atPath: "\(folder)/data"), "looking makes nothing")
        }
    }

    @Test(arguments: [["history", "--limit", "0"], ["history", "last"], ["history", "--output", "xml"], ["unlock"], ["unlock", "--reason", " "]])
    func wrongUsageIs64(arguments: [String]) async throws {
        #expect(try await run([plumb] + arguments).status == 64)
    }

    @Test func applyNeedsAPlaceForItsJournalAndPlanDoesNot() async throws {
        try await withFolder { folder in
            let source = try silentHost(in: folder, port: 1)
            let homeless = ["env", "-u", "HOME", "-u", "XDG_STATE_HOME", "-u", "STATE_DIRECTORY", plumb]
            let apply = try await run(homeless + ["apply", source, "--yes"])
            #expect(apply.status == 1 && apply.output.isEmpty)
            #expect(apply.errorOutput.contains("is not known; nothing was contacted") && apply.errorOutput.contains("--data-dir"))
            #expect(FileManager.default.createFile(atPath: "\(folder)/file", contents: nil))
            for options in [[], ["--data-dir", "\(folder)/file"]] {
                let plan = try await run(homeless + ["plan", source] + options)
                #expect(plan.output.contains("unreachable"), "\(plan.errorOutput)")
            }
            let wrong = try await run([plumb, "apply", source, "--yes", "--data-dir", "\(folder)/file"])
            #expect(wrong.status == 1 && wrong.errorOutput.contains("is no directory; nothing was contacted"))
        }
    }

    @Test func oneApplyAtATime() async throws {
        try await withFolder { folder in
            let silence = try Silence()
            let source = try silentHost(in: folder, port: silence.port)
            let command = [plumb, "apply", source, "--yes", "--data-dir", "\(folder)/data"]
            let first = try Background(command + ["--timeout", "60s"])
            #expect(try await first.waits { $0.errorOutput.contains("observing") })

            let second = try await run(command)
            #expect(second.status == 1 && second.output.isEmpty)
            #expect(second.errorOutput.contains("another apply is under way: 'plumb apply \(source)' of "), "\(second.errorOutput)")
            #expect(second.errorOutput.contains("(pid \(first.pid)), since 20"))
            #expect(second.errorOutput.contains("nothing was contacted, nothing was changed"))
            let unlock = try await run([plumb, "unlock", "--reason", "in a hurry", "--data-dir", "\(folder)/data"])
            #expect(unlock.status == 1 && unlock.errorOutput.contains("nothing was unlocked"), "a live holder is never robbed")

            first.kill9()
            let third = try await run(command + ["--timeout", "1s"])
            #expect(third.output.contains("unreachable"), "the dead block nobody: \(third.errorOutput)")
        }
    }

    @Test func aLockThatOutlivesItsHolderIsTakenAwayWithAReason() async throws {
        try await withFolder { folder in
            let silence = try Silence()
            let source = try silentHost(in: folder, port: silence.port)
            let data = "\(folder)/data"
            let first = try Background([plumb, "apply", source, "--yes", "--data-dir", data, "--timeout", "60s"])
            #expect(try await first.waits { $0.errorOutput.contains("observing") })
            first.kill9()
            // As a file system would that has not noticed.
            let ghost = try Background(["/usr/bin/flock", "\(data)/apply.lock", "sh", "-c", "echo held; exec sleep 60"])
            #expect(try await ghost.waits { $0.output.contains("held") })

            let blocked = try await run([plumb, "apply", source, "--yes", "--data-dir", data])
            #expect(blocked.status == 1 && blocked.errorOutput.contains("That process is gone, and its lock is not."), "\(blocked.errorOutput)")
            let unlock = try await run([plumb, "unlock", "--reason", "NFS forgot \u{1B}[31m", "--data-dir", data])
            #expect(unlock.status == 0 && unlock.output == "Unlocked.\n", "\(unlock.errorOutput)")
            let apply = try await run([plumb, "apply", source, "--yes", "--data-dir", data, "--timeout", "1s"])
            #expect(apply.output.contains("unreachable"), "\(apply.errorOutput)")

            let history = try await run([plumb, "history", "1", "--data-dir", data])
            #expect(history.output.contains("Run 1: unlock, complete"))
            #expect(history.output.contains("(pid \(first.pid)), held since 20") && history.output.contains(#"NFS forgot \u{1B}[31m"#))
        }
    }

    @Test func aDamagedJournalIsNamed() async throws {
        try await withFolder { folder in
            let data = "\(folder)/data"
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
            try Data(repeating: 0x41, count: 10_000).write(to: URL(fileURLWithPath: "\(data)/journal.sqlite"))
            let source = try silentHost(in: folder, port: 1)
            for command in [["history"], ["apply", source, "--yes"]] {
                let outcome = try await run([plumb] + command + ["--data-dir", data])
                #expect(outcome.status == 1 && outcome.output.isEmpty)
                #expect(outcome.errorOutput.contains("the journal \(data)/journal.sqlite is damaged"))
                #expect(outcome.errorOutput.contains("mv '\(data)/journal.sqlite'"))
            }
        }
    }

    private func withFolder(_ body: (_ folder: String) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-history-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder.path)
    }

    /// Specs of one host at a port of this machine.
    private func silentHost(in folder: String, port: UInt16) throws -> String {
        let spec = """
            apiVersion: plumb/v1
            kind: Host
            metadata: {name: quiet}
            spec: {address: 127.0.0.1, port: \(port)}

            """
        let path = "\(folder)/specs.yaml"
        try Data((spec + Lab.ubuntu).utf8).write(to: URL(fileURLWithPath: path))
        return path
    }
}

/// A port that lets everybody in and never says a word.
private final class Silence {
    let port: UInt16
    private let descriptor: Int32

    init() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let isOpen = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 && listen(descriptor, 16) == 0 && getsockname(descriptor, address, &length) == 0
            }
        }
        try #require(isOpen)
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(descriptor) }
}
