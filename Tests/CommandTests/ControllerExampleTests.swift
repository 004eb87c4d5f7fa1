import Foundation
import Testing
import Values

/// The files for running Plumb as a service are what Plumb prints, and what systemd takes.
@Suite struct ControllerExampleTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("examples/controller").path

    /// `PLUMB_RECORD=1` writes them anew; look at the diff before you commit it.
    @Test(arguments: [("rbac.yaml", ["rbac", "specs"]), ("sudoers", ["sudoers", "pi-1", "specs"])])
    func printedRightsAreUpToDate(file: String, arguments: [String]) async throws {
        let printed = try await run([plumb] + arguments, folder: Self.folder)
        #expect(printed.status == 0, "\(printed.errorOutput)")
        let path = "\(Self.folder)/\(file)"
        if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" { try Data(printed.output.utf8).write(to: URL(fileURLWithPath: path)) }
        #expect(printed.output == (try String(contentsOfFile: path, encoding: .utf8)))
    }

    @Test func aKindThatNobodyKnowsIsNamedWithWhatHelps() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-rbac-\(UUID().uuidString).yaml").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        let cluster = "apiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {inventory: x}\n"
        try Data("\(cluster)---\napiVersion: example.org/v1\nkind: Gadget\nmetadata: {name: g}\n".utf8).write(to: URL(fileURLWithPath: file))
        let unknown = try await run([plumb, "rbac", file])
        #expect(unknown.status == 1 && unknown.output.isEmpty)
        #expect(unknown.errorOutput.contains("it is not known how rights call Gadget.example.org"), "\(unknown.errorOutput)")
        #expect(unknown.errorOutput.contains("--kubeconfig FILE") && unknown.errorOutput.contains("--plural Gadget.example.org=PLURAL"))
        let known = try await run([plumb, "rbac", file, "--plural", "Gadget.example.org=gadgetry", "--report-only", "--no-leader-election"])
        #expect(known.status == 0 && known.output.contains(#"resources: ["gadgetry"]"#), "\(known.output) \(known.errorOutput)")
        #expect(!known.output.contains("patch") && !known.output.contains("create"))
        let wrong = try await run([plumb, "rbac", file, "--cluster", "away"])
        #expect(wrong.status == 1 && wrong.errorOutput.contains("'away' is no Cluster of the specs"), "\(wrong.errorOutput)")
    }

    @Test func theUnitIsOneAndIsHardened() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-unit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Checked is also that the program is there.
        let text = try String(contentsOfFile: "\(Self.folder)/plumb.service", encoding: .utf8).replacing("/usr/local/bin/plumb", with: "/bin/true")
        let unit = folder.appendingPathComponent("plumb.service").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: unit))
        let verified = try await run(["systemd-analyze", "verify", unit])
        let complaints = verified.errorOutput.split(separator: "\n").filter { $0.contains("plumb.service") }
        #expect(complaints.isEmpty, "\(complaints)")
        // 10 is a service that may do all that root may; below 2 is what systemd calls OK.
        let security = try await run(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit])
        #expect(security.status == 0, "\(security.output)")
    }
}

extension LabTests {
    @Suite struct ControllerManifestTests {
        @Test func aServerTakesTheManifests() async throws {
            let lab = try Lab()
            let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("examples/controller").path
            func text(_ name: String) throws -> String { try String(contentsOfFile: "\(folder)/\(name).yaml", encoding: .utf8) }
            try await lab.applyManifests(try text("rbac"))
            let answers = try await lab.applyManifests(try text("deployment"), dryRun: true)
            #expect(answers.contains { $0["kind"] == "Deployment" && $0[path: "metadata", "name"] == "plumb" })
            try await lab.deleteManifests(try text("rbac"))
        }
    }
}
