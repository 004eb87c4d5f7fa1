package import Values

/// Another value for a scalar that stands in a file.
package struct ScalarEdit: Hashable, Sendable {
    /// Where `parseYAML` says that it stands.
    package var position: SourcePosition
    package var value: Value

    package init(at position: SourcePosition, to value: Value) {
        self.position = position
        self.value = value
    }
}

/// Bytes of a text that others take the place of.
package struct TextReplacement: Hashable, Sendable {
    package var range: Range<Int>
    package var text: [UInt8]

    package init(range: Range<Int>, text: [UInt8]) {
        self.range = range
        self.text = text
    }
}

/// A text before and after.
package struct EditedText: Hashable, Sendable {
    package var before: [UInt8]
    /// In the order of the text; they do not overlap.
    package var replacements: [TextReplacement]

    package init(_ before: [UInt8], replacements: [TextReplacement]) {
        self.before = before
        self.replacements = replacements.sorted { $0.range.lowerBound < $1.range.lowerBound }
    }

    package var after: [UInt8] { after(before.indices) }

    /// A part of it, afterwards; no replacement may reach over the ends of the part.
    package func after(_ part: Range<Int>) -> [UInt8] {
        var result: [UInt8] = []
        var done = part.lowerBound
        for replacement in replacements where replacement.range.lowerBound >= part.lowerBound && replacement.range.upperBound <= part.upperBound {
            result += before[done..<replacement.range.lowerBound]
            result += replacement.text
            done = replacement.range.upperBound
        }
        return result + before[done..<part.upperBound]
    }
}

/// Why a scalar can't be replaced.
package struct ScalarEditRefusal: Error, Hashable, Sendable {
    package var position: SourcePosition
    /// A clause that says what of this place: `an alias uses it in another place, too`.
    package var reason: String
}

/// All refusals of one text; with one of them nothing of it is edited.
package struct ScalarEditRefusals: Error, Sendable {
    package var refusals: [ScalarEditRefusal]
}

/// Gives scalars other values and leaves every other byte as it is: comments, layout, the order of keys, line breaks.
///
/// The style stays where it can hold the value: quotes are kept, a block stays a block, and what needs quotes gets them.
///
/// - Guarantees: the result was parsed again and differs from what was there in the values of exactly these scalars. One that stands for
///   several values (an anchor with aliases) is refused.
package func editScalars(_ edits: [ScalarEdit], in bytes: [UInt8], file: String) throws(ScalarEditRefusals) -> EditedText {
    guard let start = edits.first?.position else { return EditedText(bytes, replacements: []) }
    func refused(_ position: SourcePosition, _ reason: String) -> ScalarEditRefusals {
        ScalarEditRefusals(refusals: [ScalarEditRefusal(position: position, reason: reason)])
    }
    let before = parseYAML(bytes, file: file)
    guard before.error == nil, let tokens = scalarTokens(bytes, file: file) else {
        throw refused(before.error?.position ?? start, "the file is no YAML in UTF-8")
    }
    var refusals: [ScalarEditRefusal] = []
    var replacements: [TextReplacement] = []
    for edit in edits {
        let refusal: String?
        if let token = tokens[edit.position] {
            let replacement = token.replacement(by: edit.value, in: bytes)
            if token.obstacle == nil, let replacement { replacements.append(replacement) }
            refusal = token.obstacle ?? (replacement == nil ? "a single value has to stand here" : nil)
        } else {
            refusal = "no value stands here"
        }
        if let refusal { refusals.append(ScalarEditRefusal(position: edit.position, reason: refusal)) }
    }
    guard refusals.isEmpty else { throw ScalarEditRefusals(refusals: refusals) }

    let edited = EditedText(bytes, replacements: replacements)
    let after = parseYAML(edited.after, file: file)
    var comparison = EditComparison(edits: edits)
    comparison.compare(before.documents, after.documents)
    guard after.error == nil, comparison.isAsIntended else {
        throw refused(start, "what came out would not say the same apart from that; this is a mistake in Plumb, please report it")
    }
    return edited
}

/// Whether two readings differ in what was meant and in nothing else.
private struct EditComparison {
    let edits: [SourcePosition: Value]
    private let count: Int
    private var visits: [SourcePosition: Int] = [:]
    private var isSame = true

    init(edits: [ScalarEdit]) {
        self.edits = Dictionary(edits.map { ($0.position, $0.value) }) { first, _ in first }
        count = edits.count
    }

    var isAsIntended: Bool { isSame && edits.count == count && visits.count == count && visits.values.allSatisfy { $0 == 1 } }

    mutating func compare(_ before: [YAMLNode], _ after: [YAMLNode]) {
        isSame = isSame && before.count == after.count
        for (old, new) in zip(before, after) where isSame { compare(old, new) }
    }

    private mutating func compare(_ before: YAMLNode, _ after: YAMLNode) {
        switch (before.content, after.content) {
        case (.scalar(let old), .scalar(let new)):
            guard let value = edits[before.position] else {
                isSame = isSame && old == new
                return
            }
            visits[before.position, default: 0] += 1
            isSame = isSame && (try? new.resolved()) == value
        case (.sequence(let old), .sequence(let new)): compare(old, new)
        case (.mapping(let old), .mapping(let new)):
            isSame = isSame && old.count == new.count
            for (a, b) in zip(old, new) where isSame {
                compare(a.key, b.key)
                compare(a.value, b.value)
            }
        default: isSame = false
        }
    }
}
