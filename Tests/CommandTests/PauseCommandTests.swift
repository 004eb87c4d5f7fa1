import Foundation
import Testing
import Values

/// `plumb pause` and `plumb resume` need nothing but the data directory: no specs, no cluster, no host.
struct PauseCommandTests {
    private func withData(_ body: (_ data: String) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-pause-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body("\(folder.path)/data")
    }

    private func plumb(_ data: String, _ arguments: String...) async throws -> Outcome {
        try await run([CommandTests.plumb] + arguments + ["--data-dir", data])
    }

    @Test func pausesTellsAndResumes() async throws {
        try await withData { data in
            let none = try await plumb(data, "pause", "--list")
            #expect(none.status == 0 && none.output == "Nothing is paused.\n")
            #expect(!FileManager.default.fileExists(atPath: data), "looking makes nothing")

            let first = try await plumb(
                data,
                "pause",
                "pi-1/NetworkInterface/*",
                "home/v1/Service/default/web",
                "--reason",
                "looking \u{1B}[31minto it"
            )
            #expect(first.status == 0 && first.errorOutput.isEmpty, "\(first.errorOutput)")
            #expect(
                first.output
                    == "Paused: 'pi-1/NetworkInterface/*', until it is resumed.\nPaused: home/v1/Service/default/web, until it is resumed.\n"
            )
            let second = try await plumb(data, "pause", "--host", "pi-2", "--reason", "disk", "--for", "4h")
            #expect(second.output.hasPrefix("Paused: --host pi-2, until 2") && second.output.hasSuffix(" UTC.\n"), "\(second.output)")

            let list = try await plumb(data, "pause", "--list").output
            for part in [
                "Paused:\n  'pi-1/NetworkInterface/*': by ", " until it is resumed\n      looking \\u{1B}[31minto it\n",
                "  --host pi-2: by ", " UTC\n      disk\n",
            ] { #expect(list.contains(part), "\(part.debugDescription) in \(list)") }

            let resumed = try await plumb(data, "resume", "pi-1/*", "--host", "pi-2")
            #expect(resumed.status == 0, "\(resumed.errorOutput)")
            #expect(resumed.output.contains("Resumed: 'pi-1/NetworkInterface/*' (") && resumed.output.contains("Resumed: --host pi-2 (disk).\n"))
            let left = try await plumb(data, "resume")
            #expect(left.status == 64 && left.output.isEmpty)
            #expect(left.errorOutput.contains("say what to resume") && left.errorOutput.contains("  home/v1/Service/default/web: by "))

            let history = try await plumb(data, "history", "--output", "json").document["runs"]?.arrayValue ?? []
            #expect(history.map { $0["command"] } == ["resume", "pause", "pause"])
            #expect(history.map { $0["source"] }.first == "'pi-1/*' --host pi-2")
            #expect(history.allSatisfy { $0["outcome"] == "complete" })
            #expect(history.last?["message"] == "looking \u{1B}[31minto it; until it is resumed")
        }
    }

    /// paused, resumed → whether it is taken back, and whether it is paused still by something wider.
    @Test(arguments: [
        (["--all"], ["--all"], true, false), (["--all"], ["--host", "pi-1"], false, true), (["--all"], ["pi-1/x"], false, true),
        (["--host", "pi-1"], ["--host", "pi-1"], true, false), (["--host", "pi-1"], ["pi-1"], true, false), (["--host", "pi-1"], ["*"], true, false),
        (["--host", "pi-1"], ["pi-1/*"], true, false), (["--host", "pi-1"], ["pi-1/x"], false, true),
        (["--host", "pi-1"], ["--host", "pi-2"], false, false),
        (["pi-1/x"], ["pi-1/x"], true, false), (["pi-1/x"], ["--host", "pi-1"], true, false), (["pi-1/x"], ["pi-1/*"], true, false),
        (["pi-1/*"], ["pi-1/x"], false, true), (["pi-1/*"], ["pi-1/*"], true, false), (["pi-*"], ["--host", "pi-1"], false, true),
        (["pi-1/x"], ["--all"], true, false), (["pi-1/x"], ["pi-2/x"], false, false), (["*/x"], ["pi-1/x"], false, true),
    ])
    func resumingMeansAllThatWasPaused(paused: [String], resumed: [String], isTakenBack: Bool, isWider: Bool) async throws {
        try await withData { data in
            let pause = try await run([CommandTests.plumb, "pause", "--reason", "why", "--data-dir", data] + paused)
            #expect(pause.status == 0, "\(pause.errorOutput)")
            let resume = try await run([CommandTests.plumb, "resume", "--data-dir", data] + resumed)
            #expect(resume.output.contains("Resumed: ") == isTakenBack, "\(resume.output)")
            #expect(resume.output.contains("tried again at once") == !isTakenBack)
            #expect(resume.status == (isWider ? 1 : 0))
            #expect(resume.errorOutput.contains("by a wider pause") == isWider, "\(resume.errorOutput)")
            #expect(try await plumb(data, "pause", "--list").output.hasPrefix("Nothing") == isTakenBack)
        }
    }

    @Test func itsTimeIsOverByItself() async throws {
        try await withData { data in
            #expect(try await plumb(data, "pause", "--all", "--reason", "a moment", "--for", "2s").status == 0)
            var rounds = 0
            while try await plumb(data, "pause", "--list").output != "Nothing is paused.\n" {
                rounds += 1
                try #require(rounds < 600, "it does not end")
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(rounds > 0)
        }
    }

    @Test(arguments: [
        ["pause"], ["pause", "--all"], ["pause", "--all", "--reason", " "], ["pause", "--reason", "x"],
        ["pause", "--all", "--host", "a", "--reason", "x"],
        ["pause", "", "--reason", "x"], ["pause", "a b", "--reason", "x"], ["pause", "--host", "a/b", "--reason", "x"],
        ["pause", "--host", "a*", "--reason", "x"],
        ["pause", "--all", "--reason", "x", "--for", "soon"], ["pause", "--list", "--all"], ["resume", "--all", "a"],
        ["pause", "--all", "--reason", String(repeating: "x", count: 501)],
    ])
    func wrongUsageIs64(arguments: [String]) async throws {
        try await withData { data in
            let outcome = try await run([CommandTests.plumb] + arguments + ["--data-dir", data])
            #expect(outcome.status == 64 && outcome.output.isEmpty && !outcome.errorOutput.isEmpty)
            #expect(!FileManager.default.fileExists(atPath: data))
        }
    }

    @Test func whatCantBeWrittenIsNamed() async throws {
        try await withData { data in
            #expect(FileManager.default.createFile(atPath: data, contents: nil))
            for arguments in [["pause", "--all", "--reason", "x"], ["resume", "--all"]] {
                let outcome = try await run([CommandTests.plumb] + arguments + ["--data-dir", data])
                #expect(outcome.status == 1 && outcome.output.isEmpty)
                #expect(outcome.errorOutput.contains("\(data) is no directory"), "\(outcome.errorOutput)")
            }
            let homeless = ["env", "-u", "HOME", "-u", "XDG_STATE_HOME", "-u", "STATE_DIRECTORY", CommandTests.plumb]
            let nowhere = try await run(homeless + ["pause", "--all", "--reason", "x"])
            #expect(nowhere.status == 1 && nowhere.errorOutput.contains("is not known; nothing was paused"), "\(nowhere.errorOutput)")
        }
    }
}
