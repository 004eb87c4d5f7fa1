package import ResourceModel
package import Values
package import YAML

/// What it takes for the specs to declare what is live, as far as that is a matter of values that stand in files.
package struct Adoption: Sendable {
    /// A difference whose value is to be replaced.
    package struct Field: Hashable, Sendable {
        package var address: ResourceAddress
        /// As in `FieldDifference`.
        package var path: String
        package var value: Value
        package var position: SourcePosition
    }

    /// A difference that a person has to settle.
    package struct Obstacle: Hashable, Sendable {
        package var address: ResourceAddress
        /// The field, as in `FieldDifference`; nil: the whole resource.
        package var path: String?
        /// What is so and what to do about it, as sentences.
        package var message: String

        package init(_ address: ResourceAddress, path: String? = nil, _ message: String) {
            self.address = address
            self.path = path
            self.message = message
        }
    }

    package struct File: Hashable, Sendable {
        package var path: String
        package var text: EditedText
        /// A Secret stands in it, somewhere: its lines are not for showing.
        package var holdsSecret: Bool
    }

    /// In the order of addresses and paths.
    package var fields: [Field] = []
    package var obstacles: [Obstacle] = []
    /// The files that change, in the order they were given in.
    package var files: [File] = []

    /// The specs afterwards.
    package func applied(to files: [SpecFile]) -> [SpecFile] {
        let changed = Dictionary(self.files.map { ($0.path, $0.text) }) { first, _ in first }
        return files.map { file in changed[file.path].map { SpecFile(path: file.path, relativePath: file.relativePath, bytes: $0.after) } ?? file }
    }
}

/// Finds the scalars in the specs that declare what differs, and edits them to what was observed.
///
/// Whether the kinds take the new values, and whether they mean other targets too, is found by loading and comparing once more.
/// - Parameter drifts: What is to be adopted; what is in sync asks for nothing.
package func adopt(_ drifts: [ResourceDrift], in files: [SpecFile]) -> Adoption {
    var adoption = Adoption()
    var search = ScalarSearch(files)
    var fields: [SourcePosition: [Adoption.Field]] = [:]
    for drift in drifts.sorted(by: { $0.address < $1.address }) {
        if let message = drift.whyNotAdoptable {
            adoption.obstacles.append(Adoption.Obstacle(drift.address, message))
            continue
        }
        for difference in drift.differences {
            switch search.find(difference, of: drift) {
            case .success(let position):
                guard let value = difference.observed else { continue }
                fields[position, default: []].append(
                    Adoption.Field(address: drift.address, path: difference.path, value: value, position: position)
                )
            case .failure(let reason):
                adoption.obstacles.append(Adoption.Obstacle(drift.address, path: difference.path, reason.message))
            }
        }
    }
    var edits: [String: [ScalarEdit]] = [:]
    for (position, claims) in fields {
        let values = Set(claims.map(\.value))
        if values.count == 1, let value = values.first {
            adoption.fields += claims
            edits[position.file, default: []].append(ScalarEdit(at: position, to: value))
            continue
        }
        let all = claims.map { "\($0.address) has \($0.value)" }.joined(separator: ", ")
        for claim in claims {
            let message = "\(position) is one value for all of them, and \(all). Give them specs of their own."
            adoption.obstacles.append(Adoption.Obstacle(claim.address, path: claim.path, message))
        }
    }
    for file in files {
        guard let edits = edits[file.path] else { continue }
        do throws(ScalarEditRefusals) {
            let text = try editScalars(edits.sorted { $0.position < $1.position }, in: file.bytes, file: file.path)
            adoption.files.append(Adoption.File(path: file.path, text: text, holdsSecret: search.holdsSecret(file.path)))
        } catch {
            for refusal in error.refusals {
                for field in fields[refusal.position] ?? [] {
                    let message = "\(refusal.position) can't be replaced: \(refusal.reason). Write \(field.value) there by hand."
                    adoption.obstacles.append(Adoption.Obstacle(field.address, path: field.path, message))
                }
            }
            adoption.fields.removeAll { $0.position.file == file.path }
        }
    }
    adoption.fields.sort { ($0.address, $0.path) < ($1.address, $1.path) }
    adoption.obstacles.sort { ($0.address, $0.path ?? "") < ($1.address, $1.path ?? "") }
    return adoption
}

extension ResourceDrift {
    /// Nil where its differences can be looked for in the specs.
    fileprivate var whyNotAdoptable: String? {
        if isUndeclared { return "No spec declares it any more, so there is no value to replace. Declare it again, or let 'plumb apply' end it." }
        switch standing {
        case .inSync, .differs: return nil
        case .missing: return "It is declared and not there. Take it out of the specs, or let 'plumb apply' make it."
        case .surplus: return "It is there and declared absent. Take that out of the specs, or let 'plumb apply' remove it."
        case .problem(let status, let message):
            return differences.isEmpty || status.preventsReading ? "\(status.rawValue): \(message)" : nil
        }
    }
}

private struct NotFound: Error {
    var message: String
}

/// Finds where in the specs a field is declared.
private struct ScalarSearch {
    private let files: [String: SpecFile]
    private var documents: [String: [SourcePosition: YAMLNode]] = [:]
    /// Of elements that a path may mean: lists in lists could ask for any number.
    private static let limit = 10_000

    init(_ files: [SpecFile]) {
        self.files = Dictionary(files.map { ($0.path, $0) }) { first, _ in first }
    }

    mutating func find(_ difference: FieldDifference, of drift: ResourceDrift) -> Result<SourcePosition, NotFound> {
        switch difference.observed {
        case nil, .null?:
            return .failure(NotFound(message: "It is not set there. Take it out of the specs, or let 'plumb apply' set it."))
        case .array?, .object?: return .failure(NotFound(message: "It is no single value there. Change the specs by hand."))
        case .sensitive?: return .failure(NotFound(message: "It is secret, and secrets are not copied into specs. Change the specs by hand."))
        case .bool?, .int?, .double?, .string?: break
        }
        guard let desired = difference.desired else {
            return .failure(NotFound(message: "The specs no longer declare it. Declare it again, or let 'plumb apply' give it up."))
        }
        guard let path = FieldPath(difference.path) else {
            return .failure(NotFound(message: "It stands for no single field of the specs. Change them by hand."))
        }
        var found: Set<SourcePosition> = []
        var others: SourcePosition?
        for origin in drift.origins {
            guard var root = document(at: origin) else { continue }
            // Fields of our own kinds stand under `spec`, those of a manifest are all of it.
            if root["apiVersion"]?.scalar?.text.hasPrefix("plumb/") ?? false {
                guard let spec = root["spec"] else { continue }
                root = spec
            }
            let matches = path.matches(in: root, limit: Self.limit)
            let scalars = matches.filter { $0.node.scalar != nil }
            if let place = matches.first, scalars.isEmpty { others = place.node.position }
            let saying = scalars.filter { $0.node.declares(desired) }
            // An index is that of the live list, which the specs need not repeat in full.
            if let exact = saying.first(where: \.isExact) ?? (saying.isEmpty ? scalars.first(where: \.isExact) : nil) {
                found.insert(exact.node.position)
            } else if saying.count == 1, let only = saying.first {
                found.insert(only.node.position)
            } else if let first = saying.first {
                return .failure(
                    NotFound(message: "Several values in the list at \(first.node.position) could be meant. Change the right one by hand.")
                )
            }
        }
        if let position = found.first, found.count == 1 { return .success(position) }
        if !found.isEmpty {
            let places = found.sorted().map(\.description).joined(separator: " and ")
            return .failure(NotFound(message: "It is declared at \(places). Change all of them by hand, or keep one."))
        }
        if let others { return .failure(NotFound(message: "At \(others) it is no single value. Change it by hand.")) }
        return .failure(NotFound(message: "The specs do not write it out: it comes of something else. Change them by hand."))
    }

    mutating func holdsSecret(_ file: String) -> Bool { documents(of: file).values.contains { $0["kind"]?.scalar?.text == "Secret" } }

    private mutating func document(at position: SourcePosition) -> YAMLNode? { documents(of: position.file)[position] }

    /// Documents, and the items of lists, by where they begin.
    private mutating func documents(of file: String) -> [SourcePosition: YAMLNode] {
        if let known = documents[file] { return known }
        var found: [SourcePosition: YAMLNode] = [:]
        func add(_ node: YAMLNode) {
            found[node.position] = node
            guard node["apiVersion"]?.scalar?.text == "v1", node["kind"]?.scalar?.text == "List" else { return }
            for item in node["items"]?.elements ?? [] { add(item) }
        }
        for node in files[file].map({ parseYAML($0.bytes, file: $0.path).documents }) ?? [] { add(node) }
        documents[file] = found
        return found
    }
}

/// `spec.ports[0].port`, `metadata.annotations["a/b"]`: how differences name fields.
private struct FieldPath {
    private enum Step {
        case member(String)
        case element(Int)
    }

    private var steps: [Step] = []

    init?(_ text: String) {
        var rest = Substring(text)
        while !rest.isEmpty {
            if rest.hasPrefix("[\"") {
                guard let end = rest.firstRange(of: "\"]") else { return nil }
                steps.append(.member(String(rest[rest.index(rest.startIndex, offsetBy: 2)..<end.lowerBound])))
                rest = rest[end.upperBound...]
            } else if rest.hasPrefix("[") {
                guard let end = rest.firstIndex(of: "]"), let index = Int(rest[rest.index(after: rest.startIndex)..<end]), index >= 0 else {
                    return nil
                }
                steps.append(.element(index))
                rest = rest[rest.index(after: end)...]
            } else {
                if rest.hasPrefix(".") { rest = rest.dropFirst() }
                let name = rest.prefix { $0 != "." && $0 != "[" }
                if name.isEmpty { return nil }
                steps.append(.member(String(name)))
                rest = rest.dropFirst(name.count)
            }
        }
        if steps.isEmpty { return nil }
    }

    /// Every node that the path may mean: where it has an index, all elements of the list, the one of this index marked as exact.
    func matches(in root: YAMLNode, limit: Int) -> [(node: YAMLNode, isExact: Bool)] {
        steps.reduce([(node: root, isExact: true)]) { found, step in
            found.flatMap { place -> [(node: YAMLNode, isExact: Bool)] in
                switch step {
                case .member(let name): place.node[name].map { [($0, place.isExact)] } ?? []
                case .element(let index):
                    (place.node.elements ?? []).prefix(limit).enumerated().map { ($0.element, place.isExact && $0.offset == index) }
                }
            }
            .prefix(limit).map { $0 }
        }
    }
}

extension YAMLNode {
    /// Whether the scalar says this, read as any tool reads it or as the text that it is.
    fileprivate func declares(_ value: Value) -> Bool {
        guard let scalar else { return false }
        if value == .string(scalar.text) { return true }
        var errors: [YAMLError] = []
        return self.value(errors: &errors) == value && errors.isEmpty
    }
}

extension SourcePosition {
    fileprivate static func < (a: Self, b: Self) -> Bool { (a.file, a.line, a.column) < (b.file, b.line, b.column) }
}

extension Sequence<SourcePosition> {
    fileprivate func sorted() -> [SourcePosition] { sorted { $0 < $1 } }
}
