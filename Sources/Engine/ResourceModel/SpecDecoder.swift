package import YAML

/// Reads the fields of one mapping strictly: every field must be asked for, every mistake is kept with its place.
///
/// Take the fields one by one, then call `finish()`, which reports the fields nobody took.
/// A taken field that is missing or wrong gives nil; the caller goes on, so that all mistakes are found at once.
package struct SpecDecoder: Sendable {
    package private(set) var diagnostics: [Diagnostic] = []
    /// Where the mapping stands; the place of "missing field" mistakes.
    package let position: SourcePosition
    /// The path of this mapping from `spec`, for messages: `flags`.
    package let path: String
    private var remaining: [String: YAMLNode] = [:]
    private var keyPositions: [String: SourcePosition] = [:]
    private var known: [String] = []

    package init(_ node: YAMLNode, path: String = "") {
        position = node.position
        self.path = path
        guard let entries = node.entries else {
            if let scalar = node.scalar, scalar.isNull { return }
            diagnostics.append(Diagnostic("\(path.isEmpty ? "this" : "'\(path)'") must be a mapping of fields", at: node.position))
            return
        }
        for entry in entries {
            guard let key = entry.key.scalar?.text else {
                diagnostics.append(Diagnostic("a key must be a plain word", at: entry.key.position))
                continue
            }
            if let first = keyPositions[key] {
                diagnostics.append(
                    Diagnostic("duplicate key '\(key)'", at: entry.key.position, fix: "It stands at \(first) already; keep one of the two.")
                )
                continue
            }
            keyPositions[key] = entry.key.position
            remaining[key] = entry.value
        }
    }

    /// Reports a mistake that the caller found.
    package mutating func report(_ message: String, at place: SourcePosition, fix: String = "") {
        diagnostics.append(Diagnostic(message, at: place, fix: fix))
    }

    /// The raw node of a field, or nil where it is missing (or null).
    package mutating func node(_ field: String) -> YAMLNode? {
        known.append(field)
        guard let node = remaining.removeValue(forKey: field) else { return nil }
        if let scalar = node.scalar, scalar.isNull { return nil }
        return node
    }

    /// Where a field that is there stands; for the places of a contradiction.
    package func position(of field: String) -> SourcePosition { keyPositions[field] ?? position }

    /// Where a field stands; nil where it is not there.
    package func declaredPosition(of field: String) -> SourcePosition? { keyPositions[field] }

    package mutating func require(_ field: String) -> YAMLNode? {
        if let node = node(field) { return node }
        report("missing field '\(qualified(field))'", at: position)
        return nil
    }

    /// The scalar's text as it stands in the file: `24.10` stays `24.10`.
    package mutating func string(_ field: String) -> String? {
        guard let node = node(field) else { return nil }
        return text(of: node, as: qualified(field))
    }

    package mutating func bool(_ field: String) -> Bool? {
        guard let node = node(field) else { return nil }
        if let scalar = node.scalar, scalar.isPlain, let value = ["true": true, "false": false][scalar.text] { return value }
        report("'\(qualified(field))' must be true or false", at: node.position)
        return nil
    }

    package mutating func int(_ field: String, in range: ClosedRange<Int>) -> Int? {
        guard let node = node(field) else { return nil }
        if let scalar = node.scalar, scalar.isPlain, let value = Int(scalar.text), range.contains(value) { return value }
        report("'\(qualified(field))' must be a whole number from \(range.lowerBound) to \(range.upperBound)", at: node.position)
        return nil
    }

    /// One of a closed set of words.
    package mutating func choice<Choice: RawRepresentable & CaseIterable>(_ field: String, of type: Choice.Type) -> Choice?
    where Choice.RawValue == String {
        guard let node = node(field) else { return nil }
        let words = Choice.allCases.map(\.rawValue)
        guard let text = text(of: node, as: qualified(field)) else { return nil }
        if let value = Choice(rawValue: text) { return value }
        let suggestion = Diagnostic.nearest(to: text, among: words).map { "Did you mean '\($0)'? " } ?? ""
        report(
            "'\(qualified(field))' can't be '\(text)'",
            at: node.position,
            fix: "\(suggestion)It is one of: \(words.joined(separator: ", "))."
        )
        return nil
    }

    /// A list of texts, each with its place. A single text is not taken for a list.
    package mutating func strings(_ field: String) -> [(text: String, position: SourcePosition)]? {
        guard let node = node(field) else { return nil }
        guard let elements = node.elements else {
            report("'\(qualified(field))' must be a list", at: node.position, fix: "Write [\(node.scalar?.text ?? "a, b")].")
            return nil
        }
        return elements.compactMap { element in
            text(of: element, as: "\(qualified(field))[]").map { ($0, element.position) }
        }
    }

    /// Reads a nested mapping; its mistakes, unknown fields among them, become this decoder's.
    package mutating func nested<Result>(_ field: String, _ body: (inout SpecDecoder) -> Result) -> Result? {
        guard let node = node(field) else { return nil }
        var decoder = SpecDecoder(node, path: qualified(field))
        let result = body(&decoder)
        diagnostics += decoder.finish()
        return result
    }

    /// Reports every field that nobody asked for, with the nearest known name, and returns all mistakes.
    package mutating func finish() -> [Diagnostic] {
        for field in remaining.keys.sorted() {
            let nearest = Diagnostic.nearest(to: field, among: known)
            let fix =
                nearest.map { "Did you mean '\($0)'?" }
                ?? (known.isEmpty ? "" : "The fields here are: \(known.sorted().joined(separator: ", ")).")
            report("unknown field '\(qualified(field))'", at: keyPositions[field] ?? position, fix: fix)
        }
        remaining = [:]
        return diagnostics
    }

    /// Takes all fields that are left, for mappings whose keys are names (labels).
    package mutating func takeRest() -> [(key: String, position: SourcePosition, value: YAMLNode)] {
        defer { remaining = [:] }
        return remaining.sorted { $0.key < $1.key }.map { ($0.key, keyPositions[$0.key] ?? position, $0.value) }
    }

    private mutating func text(of node: YAMLNode, as field: String) -> String? {
        if let scalar = node.scalar, !scalar.isNull { return scalar.text }
        report("'\(field)' must be a text", at: node.position)
        return nil
    }

    private func qualified(_ field: String) -> String { path.isEmpty ? field : "\(path).\(field)" }
}

extension YAMLScalar {
    /// `~`, `null` or nothing at all, unquoted.
    package var isNull: Bool { isPlain && tag == nil && ["", "~", "null", "Null", "NULL"].contains(text) }
}
