import Foundation
import Testing

/// What needs no lab: usage, versions, diagnostics, exit statuses.
struct CommandLineTests {
    @Test func saysItsVersion() async throws {
        let outcome = try await run([plumb, "--version"])
        #expect(outcome.status == 0)
        let changelog = try String(contentsOf: root.appendingPathComponent("CHANGELOG.md"), encoding: .utf8)
        #expect(changelog.contains("## \(outcome.output.trimmingCharacters(in: .whitespacesAndNewlines))"))
    }

    @Test(arguments: [
        ["plans"], ["plan", "--output", "xml"], ["plan", "--concurrency", "0"], ["plan", "--timeout", "soon"], ["apply", "--output", "json"],
        ["validate", "--nonsense"], ["plan", "a", "b"], ["plan", "--out", "plan"], ["apply", "--max-unavailable", "0"],
        ["apply", "--max-unavailable", "101%"], ["apply", "--max-unavailable", "-3"], ["apply", "--canary", "0"], ["apply", "--max-failures", "-1"],
        ["apply", "--on-stale", "skip"], ["apply", "p.json", "--on-stale", "force"], ["apply", "p.json", "--target", "a"],
        ["apply", "--source", "a"], ["adopt"], ["adopt", ""], ["adopt", "a", "--target", "b"], ["adopt", "a", "--revision", "b"],
    ])
    func wrongUsageIs64(arguments: [String]) async throws {
        let outcome = try await run([plumb] + arguments)
        #expect(outcome.status == 64)
        #expect(outcome.output.isEmpty && !outcome.errorOutput.isEmpty)
    }

    @Test(arguments: ["validate", "plan", "apply"])
    func mistakesOfASpecEndEverything(command: String) async throws {
        let source = root.appendingPathComponent("Tests/SpecLoadingTests/Cases/conflict").path
        let outcome = try await run([plumb, command, source])
        #expect(outcome.status == 1)
        #expect(outcome.output.isEmpty)
        #expect(outcome.errorOutput.contains("\(source)/s.yaml:15:11: error: "))
        #expect(outcome.errorOutput.contains("nothing was contacted, nothing is applied"))
    }

    @Test func stateIsValid() async throws {
        let outcome = try await run([plumb, "validate", "state"], folder: root.path)
        #expect(outcome.status == 0)
        #expect(outcome.output.contains("3 hosts, 1 cluster"))
        #expect(outcome.errorOutput.isEmpty)
    }

    @Test func anUnknownTargetIsNoEmptyPlan() async throws {
        let outcome = try await run([plumb, "plan", "state", "--target", "pi-9/*"], folder: root.path)
        #expect(outcome.status == 1)
        #expect(outcome.errorOutput.contains("Did you mean 'pi-1'?"))
    }

    @Test func escapesWhatASpecHolds() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-escape-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data("apiVersion: plumb/v1\nkind: \"\\u001b[31mX\\u202e\"\n".utf8).write(to: folder.appendingPathComponent("a.yaml"))
        let outcome = try await run([plumb, "validate", folder.path])
        #expect(outcome.status == 1)
        #expect(outcome.errorOutput.contains(#"\u{1B}[31mX\u{202E}"#))
        #expect(!outcome.errorOutput.unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{202E}" })
    }

    /// The repository that these tests stand in.
    private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
}
