import ClusterKinds
import Foundation
import HostKinds
import ResourceModel
import SpecLoading
import SpecSources
import Testing
import Values
import YAML

/// Each folder under `Cases` is a source; its `expected.txt` is what loading it says: every diagnostic, or every target, resource and note.
///
/// `PLUMB_RECORD=1` writes what is missing or different instead of failing; look at the diff before you commit it.
struct SpecCaseTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Cases")
    static let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()

    @Test(arguments: names)
    func saysWhatIsExpected(name: String) throws {
        let folder = Self.folder.appendingPathComponent(name)
        let expectation = folder.appendingPathComponent("expected.txt")
        let said = Self.load(folder.path).replacing(folder.path + "/", with: "")
        if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" {
            try said.write(to: expectation, atomically: true, encoding: .utf8)
        }
        #expect(said == (try String(contentsOf: expectation, encoding: .utf8)))
        // A folder says by its name whether there are mistakes in it, so that a recorded slip is seen.
        #expect(name.hasPrefix("valid-") != said.contains(": error: "))
    }

    @Test func thereAreCases() { #expect(Self.names.count >= 30) }

    static func load(_ path: String) -> String {
        let (files, problems) = readSource(path)
        if !problems.isEmpty { return problems.map { "\($0.path): \($0.message)\n    \($0.fix)\n" }.joined() }
        do {
            let desired = try loadSpecs(
                files.map { SpecFile(path: $0.path, relativePath: $0.relativePath, bytes: $0.bytes) },
                kinds: HostKinds.all + ClusterKinds.all,
                options: LoadOptions(contentHash: "")
            )
            return describe(desired)
        } catch {
            return error.diagnostics.map { "\($0)\n" }.joined()
        }
    }

    private static func describe(_ desired: DesiredState) -> String {
        var lines: [String] = []
        for target in desired.targets {
            switch target {
            case .host(let host):
                let labels = host.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
                let login = "\(host.user ?? "-")@\(host.address):\(host.port.map(String.init) ?? "-")"
                lines.append("host \(host.name) \(login) \(host.become) \(host.availability) \(labels)")
            case .cluster(let cluster):
                let inventory = cluster.inventory.map { " inventory \($0)" } ?? ""
                lines.append("cluster \(cluster.name) \(cluster.context ?? "-")\(inventory)")
            }
        }
        for resource in desired.resources {
            lines.append("\(resource.address) \(resource.fields.canonicalJSON)")
            let instructions = [
                resource.instructions.managesFieldsOnly ? "fields" : nil, resource.instructions.takesOver ? "take-over" : nil,
                resource.instructions.keepsWhenUndeclared ? "keep" : nil, resource.instructions.settle.map { "settle \($0)" },
                resource.instructions.pause.map { $0.message() },
            ].compactMap(\.self)
            if !instructions.isEmpty { lines.append("    instructions: \(instructions.joined(separator: ", "))") }
            for address in resource.dependsOn { lines.append("    after \(address)") }
        }
        for pause in desired.pauses { lines.append("\(pause.scope.words) \(pause.message())") }
        return (lines + desired.notes.map { "note: \($0)" }).map { $0 + "\n" }.joined()
    }
}
