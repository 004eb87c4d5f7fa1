import Foundation
import HostKinds
import ResourceModel
import Testing
import Values
import YAML

/// One JSON case: what a host printed and what the specs say → what is different and exactly what would be run.
///
/// ```
/// {"about": …, "specs": [fields under `spec:` without `hosts`, …],
///  "facts": {SECTION: [lines] | {"status": 1, "output": [lines], "errorOutput": [lines]}, …},
///  "expected": [{"address", "standing", "message", "differences": ["PATH: OBSERVED -> DESIRED"], "steps": […], "risk", …}, …],
///  "diagnostics": [mistakes that the specs must give]}
/// ```
/// With RECORD_CASES=1 in the environment `expected` and `diagnostics` are written anew, for a person to read through.
struct KindCase: CustomTestStringConvertible {
    var file: URL
    var kind: RegisteredKind

    var testDescription: String { "\(kind.name)/\(file.deletingPathExtension().lastPathComponent)" }

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

    static let all: [KindCase] = HostKinds.all.flatMap { kind in
        let cases = folder.appendingPathComponent("\(kind.name)/Cases")
        let files = (try? FileManager.default.contentsOfDirectory(at: cases, includingPropertiesForKeys: nil)) ?? []
        return files.filter { $0.pathExtension == "json" }.sorted { $0.path < $1.path }.map { KindCase(file: $0, kind: kind) }
    }

    func content() throws -> Value { try Value(json: Data(contentsOf: file)) }

    static var records: Bool { ProcessInfo.processInfo.environment["RECORD_CASES"] == "1" }

    func record(_ actual: [String: Value]) throws {
        guard var object = try content().objectValue else { return }
        object.merge(actual) { $1 }
        for key in ["expected", "diagnostics"] where object[key] == .array([]) { object[key] = nil }
        try Data(CaseText.pretty(.object(object)).utf8).write(to: file)
    }

    /// What the kind makes of the case: `expected` and `diagnostics` as they stand in the file.
    func run() throws -> [String: Value] {
        let content = try content()
        var diagnostics: [Diagnostic] = []
        var settings: [DeclaredSetting] = []
        for (index, spec) in (content["specs"]?.arrayValue ?? []).enumerated() {
            let decoded = Declaring.decode(spec, as: kind, file: "spec\(index + 1).yaml")
            diagnostics += decoded.diagnostics
            settings += decoded.settings
        }
        let desired = diagnostics.isEmpty ? Declaring.resources(settings, kind: kind.name) : []
        let drifts = kind.detect(desired, TargetFacts(identity: "test", facts: .host(facts(content["facts"]))))
        return [
            "expected": .array(drifts.map { CaseText.value($0, kind.change) }),
            "diagnostics": .array(diagnostics.map { .string("\($0.message)\($0.fix.isEmpty ? "" : " | \($0.fix)")") }),
        ]
    }

    private func facts(_ value: Value?) -> [String: SectionOutput] {
        (value?.objectValue ?? [:]).mapValues { section in
            if section.arrayValue != nil { return SectionOutput(status: 0, output: text(section)) }
            let status = section["status"]?.intValue.flatMap(Int32.init(exactly:)) ?? 0
            return SectionOutput(status: status, output: text(section["output"]), errorOutput: text(section["errorOutput"]))
        }
    }

    private func text(_ lines: Value?) -> String {
        (lines?.arrayValue ?? []).map { ($0.stringValue ?? $0.canonicalJSON) + "\n" }.joined()
    }
}

/// From fields to desired resources, as the loader of specs does it.
enum Declaring {
    static func decode(_ fields: Value, as kind: RegisteredKind, file: String) -> (settings: [DeclaredSetting], diagnostics: [Diagnostic]) {
        var decoder = SpecDecoder(node(fields, at: SourcePosition(file: file, line: 1, column: 1)))
        let settings = kind.decode(&decoder)
        return (settings, decoder.finish())
    }

    static func resources(_ settings: [DeclaredSetting], kind: String, target: String = "pi-1") -> [DesiredResource] {
        Dictionary(grouping: settings, by: \.key).sorted { $0.key < $1.key }.compactMap { _, group in
            guard let first = group.first else { return nil }
            return DesiredResource(
                kind: kind,
                handler: kind,
                address: ResourceAddress(target: target, resource: first.resource),
                fields: group.dropFirst().reduce(first.fields) { merged($0, $1.fields) },
                origins: group.compactMap { $0.positions.values.min { ($0.file, $0.line) < ($1.file, $1.line) } }
            )
        }
    }

    private static func merged(_ a: Value, _ b: Value) -> Value {
        guard let a = a.objectValue, let b = b.objectValue else { return b }
        return .object(a.merging(b) { merged($0, $1) })
    }

    /// The node that a YAML file with this content gives.
    private static func node(_ value: Value, at position: SourcePosition) -> YAMLNode {
        switch value {
        case .array(let elements): YAMLNode(.sequence(elements.map { node($0, at: position) }), at: position)
        case .object(let members):
            YAMLNode(
                .mapping(
                    members.sorted { $0.key < $1.key }.map { key, value in
                        YAMLEntry(key: node(.string(key), at: position), value: node(value, at: position))
                    }
                ),
                at: position
            )
        case .string(let text): YAMLNode(.scalar(YAMLScalar(text: text, isPlain: false)), at: position)
        case let other: YAMLNode(.scalar(YAMLScalar(text: other.canonicalJSON, isPlain: true)), at: position)
        }
    }
}

/// Drift and steps in the form of the case files.
enum CaseText {
    static func value(_ drift: ResourceDrift, _ change: (ResourceDrift) -> Change) -> Value {
        var result: [String: Value] = ["address": .string(drift.address.description)]
        var isChange = false
        switch drift.standing {
        case .inSync: result["standing"] = "inSync"
        case .missing: (result["standing"], isChange) = ("missing", true)
        case .differs: (result["standing"], isChange) = ("differs", true)
        case .surplus: (result["standing"], isChange) = ("surplus", true)
        case .problem(let status, let message): (result["standing"], result["message"]) = (.string(status.rawValue), .string(message))
        }
        if !drift.differences.isEmpty {
            result["differences"] = .array(
                drift.differences.map { .string("\($0.path): \($0.observed?.description ?? "-") -> \($0.desired?.description ?? "-")") }
            )
        }
        if !drift.notes.isEmpty { result["notes"] = .array(drift.notes.map(Value.string)) }
        if !drift.dependsOn.isEmpty { result["dependsOn"] = .array(drift.dependsOn.map { .string($0.description) }) }
        if isChange {
            let change = change(drift)
            result["risk"] = .string(change.risk.rawValue)
            result["steps"] = .array(
                change.steps.map { step in
                    var text = operation(step.operation)
                    text["summary"] = .string(step.summary)
                    if !step.inverse.isEmpty { text["inverse"] = .array(step.inverse.map(operation)) }
                    return text
                }
            )
        }
        return .object(result)
    }

    private static func operation(_ operation: Step.Operation) -> Value {
        guard case .run(let arguments, let input) = operation else { return "a request" }
        var value: Value = ["run": .array(arguments.map(Value.string))]
        if let input {
            var lines = input.split(separator: "\n", omittingEmptySubsequences: false).map { Value.string(String($0)) }
            // An input without its last line end would show as one more line.
            if input.hasSuffix("\n") { lines.removeLast() } else { lines.append("(no line end)") }
            value["input"] = .array(lines)
        }
        return value
    }

    /// JSON for people: short lists of words stand on one line.
    static func pretty(_ value: Value, indent: Int = 0) -> String {
        let flat = value.canonicalJSON
        if flat.count + indent <= 120, indent > 0 { return spaced(value) }
        let inner = String(repeating: " ", count: indent + 4)
        let outer = String(repeating: " ", count: indent)
        switch value {
        case .array(let elements) where !elements.isEmpty:
            return "[\n" + elements.map { inner + pretty($0, indent: indent + 4) }.joined(separator: ",\n") + "\n\(outer)]"
        case .object(let members) where !members.isEmpty:
            let order = ["about", "specs", "facts", "expected", "address", "standing", "run", "input"]
            let keys = members.keys.sorted { (order.firstIndex(of: $0) ?? 99, $0) < (order.firstIndex(of: $1) ?? 99, $1) }
            let lines = keys.map { "\(inner)\(Value.string($0).canonicalJSON): \(pretty(members[$0] ?? .null, indent: indent + 4))" }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(outer)}" + (indent == 0 ? "\n" : "")
        default: return flat
        }
    }

    private static func spaced(_ value: Value) -> String {
        switch value {
        case .array(let elements): "[" + elements.map(spaced).joined(separator: ", ") + "]"
        case .object(let members):
            "{" + members.sorted { $0.key < $1.key }.map { "\(Value.string($0.key).canonicalJSON): \(spaced($0.value))" }.joined(separator: ", ")
                + "}"
        default: value.canonicalJSON
        }
    }
}
