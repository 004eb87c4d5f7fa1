import CLibYAML

/// What a file may make us do, at most. Specs come from repositories that strangers can send changes to.
package struct YAMLLimits: Sendable {
    /// Of one file.
    package var bytes = 4 * 1024 * 1024
    /// Sequences and mappings in each other.
    package var depth = 64
    /// Nodes of one file as written.
    package var nodes = 1_000_000
    /// Nodes that aliases (`*name`) and merges stand for, in one file. Ten lines of aliases can stand for billions.
    package var aliasedNodes = 100_000
    /// Of one file.
    package var documents = 20_000

    package init() {}
}

/// Why a text is no YAML, or none that we take.
package struct YAMLError: Error, Hashable, Sendable {
    package var message: String
    /// How to mend it; may be empty.
    package var fix: String
    package var position: SourcePosition

    package init(_ message: String, at position: SourcePosition, fix: String = "") {
        self.message = message
        self.fix = fix
        self.position = position
    }
}

/// Reads all documents of one file.
///
/// - Returns: the documents up to the first error, and that error. Empty documents are left out.
/// - Guarantees: ends on any input, within the limits.
package func parseYAML(_ bytes: [UInt8], file: String, limits: YAMLLimits = YAMLLimits()) -> (documents: [YAMLNode], error: YAMLError?) {
    guard bytes.count <= limits.bytes else {
        let message = "the file has \(bytes.count) bytes; at most \(limits.bytes) are read"
        return ([], YAMLError(message, at: SourcePosition(file: file, line: 1, column: 1), fix: "Split it into several files."))
    }
    var parser = Parser(file: file, limits: limits)
    do throws(YAMLError) {
        try parser.parse(bytes)
        return (parser.documents, nil)
    } catch {
        return (parser.documents, error)
    }
}

private struct Parser {
    let file: String
    let limits: YAMLLimits
    var documents: [YAMLNode] = []
    private var anchors: [String: Anchored] = [:]
    private var nodes = 0
    private var aliasedNodes = 0
    /// The event that was read and not used up yet.
    private var event = yaml_event_t()

    private struct Anchored {
        var node: YAMLNode
        var size: Int
        var depth: Int
    }

    /// A node with how much it stands for, aliases included.
    private typealias Measured = (node: YAMLNode, size: Int, depth: Int)

    init(file: String, limits: YAMLLimits) {
        self.file = file
        self.limits = limits
    }

    mutating func parse(_ bytes: [UInt8]) throws(YAMLError) {
        var parser = yaml_parser_t()
        guard yaml_parser_initialize(&parser) == 1 else { throw YAMLError("no memory", at: SourcePosition(file: file, line: 1, column: 1)) }
        defer { yaml_parser_delete(&parser) }
        // The buffer has to outlive every call that reads from it, so all of parsing happens inside.
        let failure = bytes.withUnsafeBufferPointer { buffer -> YAMLError? in
            yaml_parser_set_input_string(&parser, buffer.baseAddress, buffer.count)
            do throws(YAMLError) {
                try readStream(&parser, bytes: buffer)
                return nil
            } catch {
                return error
            }
        }
        yaml_event_delete(&event)
        if let failure { throw failure }
    }

    private mutating func readStream(_ parser: inout yaml_parser_t, bytes: UnsafeBufferPointer<UInt8>) throws(YAMLError) {
        while true {
            try next(&parser, bytes: bytes)
            switch event.type {
            case YAML_STREAM_END_EVENT: return
            case YAML_STREAM_START_EVENT, YAML_DOCUMENT_END_EVENT: continue
            case YAML_DOCUMENT_START_EVENT:
                anchors = [:]
                try next(&parser, bytes: bytes)
                let position = position
                let document = try node(&parser, bytes: bytes, depth: 0).node
                // `---` with nothing after it.
                if let scalar = document.scalar, scalar.isPlain, scalar.text.isEmpty { continue }
                guard documents.count < limits.documents else {
                    throw YAMLError("more than \(limits.documents) documents in one file", at: position, fix: "Split it into several files.")
                }
                documents.append(document)
            default: return
            }
        }
    }

    private mutating func next(_ parser: inout yaml_parser_t, bytes: UnsafeBufferPointer<UInt8>) throws(YAMLError) {
        yaml_event_delete(&event)
        guard yaml_parser_parse(&parser, &event) == 1 else { throw syntaxError(parser, bytes: bytes) }
    }

    private var position: SourcePosition {
        SourcePosition(file: file, line: Int(event.start_mark.line) + 1, column: Int(event.start_mark.column) + 1)
    }

    /// Reads the node that begins with the current event.
    private mutating func node(
        _ parser: inout yaml_parser_t,
        bytes: UnsafeBufferPointer<UInt8>,
        depth: Int
    ) throws(YAMLError) -> Measured {
        let position = position
        nodes += 1
        guard nodes <= limits.nodes else { throw YAMLError("more than \(limits.nodes) values in one file", at: position) }
        guard depth < limits.depth else { throw YAMLError("nested deeper than \(limits.depth) levels", at: position) }

        switch event.type {
        case YAML_ALIAS_EVENT:
            let name = text(event.data.alias.anchor)
            guard let anchored = anchors[name] else {
                throw YAMLError("'*\(name)' refers to nothing", at: position, fix: "An anchor '&\(name)' must stand before it, and not around it.")
            }
            aliasedNodes += anchored.size
            guard aliasedNodes <= limits.aliasedNodes else {
                throw YAMLError("aliases stand for more than \(limits.aliasedNodes) values", at: position, fix: "Write the values out.")
            }
            guard depth + anchored.depth < limits.depth else { throw YAMLError("nested deeper than \(limits.depth) levels", at: position) }
            return (anchored.node, anchored.size, anchored.depth)

        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let content = YAMLScalar(
                text: String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self),
                isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE,
                tag: scalar.tag == nil ? nil : text(scalar.tag)
            )
            return remember((YAMLNode(.scalar(content), at: position), 1, 1), as: scalar.anchor)

        case YAML_SEQUENCE_START_EVENT:
            let anchor = event.data.sequence_start.anchor.map { text($0) }
            var elements: [YAMLNode] = []
            var size = 1
            var below = 0
            while true {
                try next(&parser, bytes: bytes)
                if event.type == YAML_SEQUENCE_END_EVENT { break }
                let element = try node(&parser, bytes: bytes, depth: depth + 1)
                elements.append(element.node)
                size += element.size
                below = max(below, element.depth)
            }
            return remember((YAMLNode(.sequence(elements), at: position), size, below + 1), as: anchor)

        case YAML_MAPPING_START_EVENT:
            let anchor = event.data.mapping_start.anchor.map { text($0) }
            var entries: [YAMLEntry] = []
            var merged: [YAMLEntry] = []
            var size = 1
            var below = 0
            while true {
                try next(&parser, bytes: bytes)
                if event.type == YAML_MAPPING_END_EVENT { break }
                let key = try node(&parser, bytes: bytes, depth: depth + 1)
                try next(&parser, bytes: bytes)
                let value = try node(&parser, bytes: bytes, depth: depth + 1)
                size += key.size + value.size
                below = max(below, key.depth, value.depth)
                if let scalar = key.node.scalar, scalar.isPlain, scalar.text == "<<" {
                    merged += try mergedEntries(value.node)
                } else {
                    entries.append(YAMLEntry(key: key.node, value: value.node))
                }
            }
            if !merged.isEmpty {
                // What is written in the mapping itself wins, then what was merged first.
                var present = Set(entries.compactMap { $0.key.scalar?.text })
                entries += merged.filter { entry in entry.key.scalar.map { present.insert($0.text).inserted } ?? true }
            }
            return remember((YAMLNode(.mapping(entries), at: position), size, below + 1), as: anchor)

        default:
            throw YAMLError("unexpected end", at: position)
        }
    }

    private func mergedEntries(_ node: YAMLNode) throws(YAMLError) -> [YAMLEntry] {
        if let entries = node.entries { return entries }
        guard let elements = node.elements else { throw YAMLError("'<<' takes a mapping or a list of mappings", at: node.position) }
        var entries: [YAMLEntry] = []
        for element in elements {
            guard let more = element.entries else { throw YAMLError("'<<' takes a mapping or a list of mappings", at: element.position) }
            entries += more
        }
        return entries
    }

    private mutating func remember(_ measured: Measured, as anchor: UnsafeMutablePointer<yaml_char_t>?) -> Measured {
        anchor.map { remember(measured, as: text($0)) } ?? measured
    }

    private mutating func remember(_ measured: Measured, as anchor: String?) -> Measured {
        if let anchor { anchors[anchor] = Anchored(node: measured.node, size: measured.size, depth: measured.depth) }
        return measured
    }

    private func text(_ pointer: UnsafeMutablePointer<yaml_char_t>) -> String { String(cString: pointer) }

    /// What libyaml says, in words, at the place it says it of.
    private func syntaxError(_ parser: yaml_parser_t, bytes: UnsafeBufferPointer<UInt8>) -> YAMLError {
        let problem = parser.problem.map { String(cString: $0) } ?? "this is no YAML"
        if parser.error == YAML_READER_ERROR {
            // The reader knows only how many bytes came before.
            let before = bytes.prefix(min(bytes.count, Int(parser.problem_offset)))
            let line = before.count { $0 == UInt8(ascii: "\n") } + 1
            let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
            let column = String(decoding: before[lineStart...], as: UTF8.self).unicodeScalars.count + 1
            let place = SourcePosition(file: file, line: line, column: column)
            return YAMLError("the text can't be read: \(problem)", at: place, fix: "Specs are UTF-8 text without control characters.")
        }
        let mark = parser.problem_mark
        let place = SourcePosition(file: file, line: Int(mark.line) + 1, column: Int(mark.column) + 1)
        var fix = ""
        if let context = parser.context {
            fix = "This happened \(String(cString: context)) that began in line \(parser.context_mark.line + 1)."
        }
        switch problem {
        case "found character that cannot start any token": fix = "Indent with spaces, not tabs, and quote values that begin with @, ` or %."
        case "mapping values are not allowed in this context": fix = "Quote a value that contains ': ', or look at the indentation above."
        case "did not find expected key", "did not find expected '-' indicator":
            fix = "Look at the indentation of this line and the one above. \(fix)"
        default: break
        }
        return YAMLError("this is no YAML: \(problem)", at: place, fix: fix)
    }
}
