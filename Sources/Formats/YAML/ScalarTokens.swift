import CLibYAML

/// A scalar as it stands in a file: which bytes it takes, and what has to be known before they are replaced.
struct ScalarToken {
    enum Style {
        case plain, singleQuoted, doubleQuoted, block
    }

    /// Without an anchor before it.
    var bytes: Range<Int>
    var style: Style
    /// Within `{}` or `[]`, where `,` and brackets mean something.
    var isInFlow: Bool
    /// Why it can't be replaced, as a clause that follows the scalar's place; nil: it can.
    var obstacle: String?
    /// The anchors that it is a part of.
    fileprivate var anchors: [Int]
}

/// All scalars that take at least one byte, by where they begin. A scalar with an anchor or a tag begins there, as in `parseYAML`.
///
/// - Returns: nil where the text is no YAML in UTF-8; `parseYAML` says what is wrong with it.
/// - Guarantees: linear in the length of the text. Limits are `parseYAML`'s to keep: call it first.
func scalarTokens(_ bytes: [UInt8], file: String) -> [SourcePosition: ScalarToken]? {
    // libyaml takes UTF-16 as well; its marks would be no places in these bytes.
    if bytes.starts(with: [0xFE, 0xFF]) || bytes.starts(with: [0xFF, 0xFE]) { return nil }
    var parser = yaml_parser_t()
    guard yaml_parser_initialize(&parser) == 1 else { return nil }
    defer { yaml_parser_delete(&parser) }
    return bytes.withUnsafeBufferPointer { buffer in
        yaml_parser_set_input_string(&parser, buffer.baseAddress, buffer.count)
        var reader = TokenReader(bytes: buffer, file: file)
        var event = yaml_event_t()
        while true {
            guard yaml_parser_parse(&parser, &event) == 1 else { return nil }
            let type = event.type
            reader.take(event)
            yaml_event_delete(&event)
            if type == YAML_STREAM_END_EVENT { return reader.finish() }
        }
    }
}

private struct TokenReader {
    let bytes: UnsafeBufferPointer<UInt8>
    let file: String
    private var tokens: [SourcePosition: ScalarToken] = [:]
    private var containers: [(isFlow: Bool, isAnchored: Bool)] = []
    private var anchors: [Int] = []
    private var anchorNumbers: [String: Int] = [:]
    private var anchorCount = 0
    private var aliased: Set<Int> = []
    /// libyaml counts characters; how many there are before a byte is counted on from the last place that was asked for.
    private var reached: (character: Int, byte: Int)

    init(bytes: UnsafeBufferPointer<UInt8>, file: String) {
        self.bytes = bytes
        self.file = file
        // A byte order mark is no character to libyaml.
        reached = (0, bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0)
    }

    mutating func take(_ event: yaml_event_t) {
        switch event.type {
        case YAML_DOCUMENT_START_EVENT: anchorNumbers = [:]
        case YAML_ALIAS_EVENT:
            if let number = anchorNumbers[String(cString: event.data.alias.anchor)] { aliased.insert(number) }
        case YAML_SEQUENCE_START_EVENT:
            open(isFlow: event.data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE, anchor: event.data.sequence_start.anchor)
        case YAML_MAPPING_START_EVENT:
            open(isFlow: event.data.mapping_start.style == YAML_FLOW_MAPPING_STYLE, anchor: event.data.mapping_start.anchor)
        case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT:
            if let container = containers.popLast(), container.isAnchored { anchors.removeLast() }
        case YAML_SCALAR_EVENT: takeScalar(event)
        default: break
        }
    }

    private mutating func open(isFlow: Bool, anchor: UnsafeMutablePointer<yaml_char_t>?) {
        containers.append((isFlow, anchor != nil))
        if let anchor { anchors.append(number(anchor)) }
    }

    private mutating func number(_ anchor: UnsafeMutablePointer<yaml_char_t>) -> Int {
        anchorCount += 1
        anchorNumbers[String(cString: anchor)] = anchorCount
        return anchorCount
    }

    private mutating func takeScalar(_ event: yaml_event_t) {
        let scalar = event.data.scalar
        let start = byte(at: Int(event.start_mark.index))
        let end = byte(at: Int(event.end_mark.index))
        let own = scalar.anchor.map { number($0) }
        guard start < end else { return }
        let style: ScalarToken.Style =
            switch scalar.style {
            case YAML_SINGLE_QUOTED_SCALAR_STYLE: .singleQuoted
            case YAML_DOUBLE_QUOTED_SCALAR_STYLE: .doubleQuoted
            case YAML_LITERAL_SCALAR_STYLE, YAML_FOLDED_SCALAR_STYLE: .block
            default: .plain
            }
        var token = ScalarToken(
            bytes: start..<end,
            style: style,
            isInFlow: containers.contains { $0.isFlow },
            anchors: anchors + (own.map { [$0] } ?? [])
        )
        if scalar.tag != nil {
            token.obstacle = "it has a tag, which says how it is to be read"
        } else if own != nil {
            // `&name value`: the anchor stays.
            let name = bytes[start..<end].firstIndex { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") } ?? end
            let value = bytes[name..<end].firstIndex { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") } ?? end
            if bytes[start] == UInt8(ascii: "&"), value < end, !"\r\n#".utf8.contains(bytes[value]), !bytes[start..<name].contains(UInt8(ascii: "\n"))
            {
                token.bytes = value..<end
            } else {
                token.obstacle = "it does not stand in the line of its anchor"
            }
        }
        let place = SourcePosition(file: file, line: Int(event.start_mark.line) + 1, column: Int(event.start_mark.column) + 1)
        tokens[place] = token
    }

    private mutating func byte(at character: Int) -> Int {
        if character < reached.character { reached = (0, bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0) }
        while reached.character < character, reached.byte < bytes.count {
            reached.byte += 1
            while reached.byte < bytes.count, bytes[reached.byte] & 0xC0 == 0x80 { reached.byte += 1 }
            reached.character += 1
        }
        return reached.byte
    }

    func finish() -> [SourcePosition: ScalarToken] {
        tokens.mapValues { token in
            var token = token
            if token.obstacle == nil, token.anchors.contains(where: aliased.contains) {
                token.obstacle = "an alias ('*') or a merge ('<<') uses it in another place, too"
            }
            return token
        }
    }
}
