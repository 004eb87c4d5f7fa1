import ClusterKinds
import DriftDetection
import Foundation
import KubernetesAPI
import Planning
import ResourceModel
import SpecLoading
import Testing
import Values
import YAML

/// Cases as data: manifests, and what a server says of them → how they stand, and the exact requests.
///
/// A file `Cases/X.yaml` has one case a document; `Cases/X.expected.txt` says what comes of them. `PLUMB_RECORD=1` writes the latter; look at
/// the diff before you commit it.
struct ObjectCaseTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Cases")
    static let files = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter { $0.hasSuffix(".yaml") }.sorted()

    @Test(arguments: Self.files)
    func saysWhatIsExpected(file: String) throws {
        let path = Self.folder.appendingPathComponent(file)
        let expectation = Self.folder.appendingPathComponent(file.replacing(".yaml", with: ".expected.txt"))
        let said = try Self.cases(path).map { "## \($0.name)\n\($0.outcome())" }.joined(separator: "\n")
        if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" { try said.write(to: expectation, atomically: true, encoding: .utf8) }
        #expect(said == (try String(contentsOf: expectation, encoding: .utf8)))
        #expect(!said.contains("hunter2") && !said.contains("aHVudGVyMg"))
    }

    @Test func thereAreCases() throws {
        let all = try Self.files.flatMap { try Self.cases(Self.folder.appendingPathComponent($0)) }
        #expect(all.count >= 40)
        #expect(Set(all.map(\.name)).count == all.count)
        #expect(all.contains { $0.outcome().contains(": in sync\n") })
    }

    static func cases(_ path: URL) throws -> [ObjectCase] {
        let (documents, error) = parseYAML(Array(try Data(contentsOf: path)), file: path.lastPathComponent)
        if let error { throw error }
        return try documents.map { document in
            var errors: [YAMLError] = []
            let value = document.value(errors: &errors)
            if let error = errors.first { throw error }
            return try ObjectCase(value)
        }
    }
}

struct ObjectCase {
    var name: String
    var desired: [DesiredResource]
    var facts: TargetFacts

    /// `specs`: manifests; `found`: by address' resource part `{live, predicted, unconfirmed, problem}`; `notServed`: kinds the server lacks;
    /// `owned`: what the inventory has and no spec declares, by the same `{uid, created, fields, keep}`.
    init(_ value: Value) throws {
        name = value["case"]?.stringValue ?? ""
        let manifests = (value["specs"]?.arrayValue ?? []).map(\.canonicalJSON)
        let cluster = "{apiVersion: plumb/v1, kind: Cluster, metadata: {name: home}, spec: {context: home}}"
        let text = ([cluster] + manifests).joined(separator: "\n---\n")
        let file = SpecFile(path: "specs.yaml", relativePath: "specs.yaml", bytes: Array(text.utf8))
        desired = try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: "")).resources

        let notServed = Set((value["notServed"]?.arrayValue ?? []).compactMap(\.stringValue))
        var kinds: [String: Value] = [:]
        var objects: [String: ObservedObject] = [:]
        let owned = (value["owned"]?.objectValue ?? [:]).sorted { $0.key < $1.key }.map { Self.owned($0, $1) }
        for resource in desired + owned.map(Self.resource) {
            let kind = "\(resource.fields["apiVersion"]?.stringValue ?? "")/\(resource.kind)"
            let isNamespaced = resource.fields[path: "metadata", "namespace"] != nil
            if !notServed.contains(kind) { kinds[kind] = ["plural": .string(resource.kind.lowercased() + "s"), "namespaced": .bool(isNamespaced)] }
            let found = value["found"]?[resource.address.resource]
            let problem = (found?["problem"]?.stringValue).flatMap { Self.problem($0, resource.address) }
            objects[resource.address.resource] = ObservedObject(
                live: found?["live"].map { Self.object($0, resource) },
                predicted: found?["predicted"].map { Self.object($0, resource) },
                unconfirmed: found?["unconfirmed"]?.stringValue,
                problem: problem
            )
        }
        objects["discovery"] = ObservedObject(live: .object(kinds))
        facts = TargetFacts(identity: "cluster", facts: .cluster(objects), owned: owned)
    }

    private static func owned(_ resource: String, _ value: Value) -> OwnedResource {
        OwnedResource(
            address: ResourceAddress(target: "home", resource: resource),
            kind: resource.split(separator: "/").map(String.init).first { $0.first?.isUppercase == true } ?? "",
            handler: "KubernetesObject",
            isCreated: value["created"] == true,
            managesFieldsOnly: value["fields"] == true,
            isKept: value["keep"] == true,
            uid: value["uid"]?.stringValue ?? "uid-1"
        )
    }

    /// As much of a manifest as there is of an object that no spec declares.
    private static func resource(_ owned: OwnedResource) -> DesiredResource {
        let parts = owned.address.resource.split(separator: "/").map(String.init)
        let index = parts.firstIndex(of: owned.kind) ?? 0
        var metadata: Value = ["name": .string(parts[parts.count - 1])]
        if parts.count == index + 3 { metadata["namespace"] = .string(parts[index + 1]) }
        return DesiredResource(
            kind: owned.kind,
            handler: owned.handler,
            address: owned.address,
            fields: ["apiVersion": .string(parts[..<index].joined(separator: "/")), "kind": .string(owned.kind), "metadata": metadata],
            origins: []
        )
    }

    private static func problem(_ text: String, _ address: ResourceAddress) -> Problem? {
        let parts = text.split(separator: ":", maxSplits: 1)
        guard let status = ProblemStatus(rawValue: String(parts[0])), parts.count == 2 else { return nil }
        return Problem(target: address.target, address: address, status: status, message: String(parts[1].drop { $0 == " " }))
    }

    /// Adds what every object has, and spells out `owners: {"MANAGER OPERATION TIME": FIELDS}`. Secrets are as reading leaves them.
    private static func object(_ value: Value, _ resource: DesiredResource) -> Value {
        var object = value
        let apiVersion = value["apiVersion"] ?? resource.fields["apiVersion"]
        object["apiVersion"] = apiVersion
        object["kind"] = .string(resource.kind)
        if value["metadata"] == nil { object["metadata"] = [:] }
        object["metadata"]?["name"] = resource.fields[path: "metadata", "name"]
        object["metadata"]?["namespace"] = resource.fields[path: "metadata", "namespace"]
        object["metadata"]?["uid"] = "uid-1"
        if let owners = value["owners"]?.objectValue {
            object["owners"] = nil
            object["metadata"]?["managedFields"] = .array(
                owners.sorted { $0.key < $1.key }.map { key, fields in
                    let words = key.split(separator: " ").map { Value.string(String($0)) }
                    return [
                        "manager": words[0], "operation": words[1], "time": words.count > 2 ? words[2] : "2026-01-01T00:00:00Z",
                        "apiVersion": apiVersion ?? .null, "fieldsType": "FieldsV1", "fieldsV1": fields,
                    ]
                }
            )
        }
        if resource.kind == "Secret", let data = object["data"]?.objectValue {
            object["data"] = .object(data.mapValues { .sensitive(SensitiveValue($0)) })
        }
        return object
    }

    func outcome() -> String {
        var lines: [String] = []
        for kind in ClusterKinds.all {
            for drift in (kind.detect(desired, facts) + kind.undeclared(facts.owned, facts)).sorted(by: { $0.address < $1.address }) {
                lines.append("\(drift.address): \(Self.words(drift.standing))")
                for field in drift.differences {
                    lines.append("  \(field.path): \(field.observed.map(Self.words) ?? "(none)") -> \(field.desired.map(Self.words) ?? "(none)")")
                }
                if !drift.reason.isEmpty { lines.append("  reason: \(drift.reason)") }
                if !drift.dependsOn.isEmpty { lines.append("  after: \(drift.dependsOn.map(\.description).joined(separator: ", "))") }
                guard [.missing, .differs, .surplus].contains(drift.standing) else { continue }
                if drift.standing == .surplus { lines.append("  phase: \(drift.phase)") }
                lines.append("  fingerprint: \(drift.fingerprint.canonicalJSON)")
                let change = kind.change(drift)
                if change.risk != .none { lines.append("  risk: \(change.risk.rawValue)") }
                for step in change.steps {
                    lines.append("  step: \(step.summary)")
                    lines.append("    \(Self.words(step.operation))")
                    lines += step.inverse.map { "    undo: \(Self.words($0))" }
                }
            }
        }
        return lines.map { "\($0)\n" }.joined()
    }

    private static func words(_ value: Value) -> String { value.canonicalJSON }

    private static func words(_ standing: ResourceDrift.Standing) -> String {
        switch standing {
        case .inSync: "in sync"
        case .missing: "missing"
        case .differs: "differs"
        case .surplus: "surplus"
        case .problem(let status, let message): "\(status.rawValue): \(message)"
        }
    }

    private static func words(_ operation: Step.Operation) -> String {
        guard case .send(let request) = operation else { return "no request" }
        return "\(request.method) \(request.path) \(request.contentType ?? "") \(request.body?.canonicalJSON ?? "")"
    }
}
