import Testing
import Values
import YAML

/// Values that are replaced in their places.
struct ScalarEditTests {
    /// One value in a text, by its path: a name is a member, a number an element, the first number the document.
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var before: String
        var path: [String]
        var value: Value
        var after: String
        var testDescription: String { name }

        init(_ name: String, _ before: String, _ path: String, _ value: Value, _ after: String) {
            self.name = name
            self.before = before
            self.path = path.split(separator: "/").map(String.init)
            self.value = value
            self.after = after
        }
    }

    static func position(_ path: [String], in text: String) throws -> SourcePosition {
        var nodes = parseYAML(Array(text.utf8), file: "f").documents
        var found: YAMLNode?
        for step in path {
            if let index = Int(step) {
                found = try #require(nodes.indices.contains(index) ? nodes[index] : nil)
            } else {
                found = try #require(found?[step])
            }
            nodes = found?.elements ?? []
        }
        return try #require(found).position
    }

    private static func edit(_ text: String, _ path: [String], _ value: Value) throws -> String {
        let edit = ScalarEdit(at: try position(path, in: text), to: value)
        return String(decoding: try editScalars([edit], in: Array(text.utf8), file: "f").after, as: UTF8.self)
    }

    static let cases: [Case] = [
        Case("comments and layout", "# a\nmtu:   1500  # why\n\nx: 1\n", "0/mtu", 1400, "# a\nmtu:   1400  # why\n\nx: 1\n"),
        Case("CRLF", "a: 1 # c\r\nmtu: 1500\r\nx: 1\r\n", "0/mtu", 1400, "a: 1 # c\r\nmtu: 1400\r\nx: 1\r\n"),
        Case("tabs between", "mtu:\t1500\t# c\n", "0/mtu", 1400, "mtu:\t1400\t# c\n"),
        Case("no line feed at the end", "mtu: 1500", "0/mtu", 1400, "mtu: 1400"),
        Case("byte order mark", "\u{FEFF}mtu: 1500\n", "0/mtu", 1400, "\u{FEFF}mtu: 1400\n"),
        Case("wide characters before", "ä: \"日本 🙂\" # ß\nb: {é: 1, mtu: 1500}\n", "0/b/mtu", 1400, "ä: \"日本 🙂\" # ß\nb: {é: 1, mtu: 1400}\n"),
        Case("wide characters and byte order mark", "\u{FEFF}ä: ö\nb: ü # é\n", "0/b", "u", "\u{FEFF}ä: ö\nb: u # é\n"),
        Case("flow mapping", "spec: {a: b, type: LoadBalancer, c: d}\n", "0/spec/type", "ClusterIP", "spec: {a: b, type: ClusterIP, c: d}\n"),
        Case("flow needs quotes", "spec: {a: b}\n", "0/spec/a", "x, y", "spec: {a: \"x, y\"}\n"),
        Case("flow over lines", "l: [a,\n    b, # c\n  d]\n", "0/l/1", "e", "l: [a,\n    e, # c\n  d]\n"),
        Case("list", "l:\n- a\n- b # c\n- d\n", "0/l/1", "e", "l:\n- a\n- e # c\n- d\n"),
        Case(
            "second document",
            "mtu: 1500\n---\nmtu: 1500\n...\n---\nmtu: 1500\n",
            "1/mtu",
            1400,
            "mtu: 1500\n---\nmtu: 1400\n...\n---\nmtu: 1500\n"
        ),
        Case("single quotes stay", "a: 'x' # c\n", "0/a", "it's", "a: 'it''s' # c\n"),
        Case("double quotes stay", "a: \"x\"\n", "0/a", "y \"z\" \\", "a: \"y \\\"z\\\" \\\\\"\n"),
        Case("single quotes can't hold a line feed", "a: 'x'\n", "0/a", "y\nz", "a: \"y\\nz\"\n"),
        Case("quoted text to number", "a: '8080'\n", "0/a", 9090, "a: 9090\n"),
        Case("number to text", "a: 8080\n", "0/a", "http", "a: http\n"),
        Case("a text that looks like a number", "a: x\n", "0/a", "8080", "a: \"8080\"\n"),
        Case("a text that looks like a fraction", "a: 24.10\n", "0/a", "24.04", "a: \"24.04\"\n"),
        Case("a text that looks like a truth", "a: x\n", "0/a", "on", "a: \"on\"\n"),
        Case("a text that looks like nothing", "a: x\n", "0/a", "null", "a: \"null\"\n"),
        Case("a text that looks like a date", "a: x\n", "0/a", "2026-01-01", "a: \"2026-01-01\"\n"),
        Case("a text that looks like minutes", "a: x\n", "0/a", "1:30", "a: \"1:30\"\n"),
        Case("a quantity", "a: 100m\n", "0/a", "5Gi", "a: 5Gi\n"),
        Case("an image", "a: nginx:1.25 # c\n", "0/a", "registry.example/nginx:1.26", "a: registry.example/nginx:1.26 # c\n"),
        Case("empty text", "a: x\n", "0/a", "", "a: \"\"\n"),
        Case("a comment in the text", "a: x\n", "0/a", "b #c", "a: \"b #c\"\n"),
        Case("a mapping in the text", "a: x\n", "0/a", "b: c", "a: \"b: c\"\n"),
        Case("an alias in the text", "a: x\n", "0/a", "*b", "a: \"*b\"\n"),
        Case("turned writing", "a: x\n", "0/a", "b\u{202E}c", "a: \"b\\u202Ec\"\n"),
        Case("control characters", "a: 'x'\n", "0/a", "\u{1B}[31m\u{0}", "a: \"\\x1B[31m\\x00\"\n"),
        Case("truth", "a: yes\n", "0/a", false, "a: false\n"),
        Case("fraction", "a: 1\n", "0/a", .double(0.5), "a: 0.5\n"),
        Case("plain over lines", "a: b\n  c\nd: e\n", "0/a", "f", "a: f\nd: e\n"),
        Case("quoted over lines", "a: \"b\n  c\" # d\n", "0/a", "f", "a: \"f\" # d\n"),
        Case("anchor that nobody uses", "a: &x 1500 # c\n", "0/a", 1400, "a: &x 1400 # c\n"),
        Case("block", "a: |\n  one\n  two\n\nb: 1\n", "0/a", "one\n\n  three\n", "a: |\n  one\n\n    three\n\nb: 1\n"),
        Case("block with a comment", "a: |- # c\n    one\nb: 1\n", "0/a", "x\n", "a: | # c\n    x\nb: 1\n"),
        Case("block without the last line feed", "a: |\n  one\nb: 1\n", "0/a", "two", "a: |-\n  two\nb: 1\n"),
        Case("folded block", "a: >\n  one\n  two\n# c\nb: 1\n", "0/a", "three\nfour\n", "a: |\n  three\n  four\n# c\nb: 1\n"),
        Case("kept line feeds", "a: |+\n  one\n\n\nb: 1\n", "0/a", "two\n", "a: |\n  two\n\n\nb: 1\n"),
        Case("block at the end without line feed", "a: |\n  one", "0/a", "two\n", "a: |\n  two\n"),
        Case("block in CRLF", "a: |\r\n  one\r\n  two\r\nb: 1\r\n", "0/a", "x\ny\n", "a: |\r\n  x\r\n  y\r\nb: 1\r\n"),
        Case("block that can't hold it", "a: |\n  one\nb: 1\n", "0/a", " x\n", "a: \" x\\n\"\nb: 1\n"),
        Case("block with its size given", "a: |2\n    one\nb: 1\n", "0/a", "x\n", "a: \"x\\n\"\nb: 1\n"),
        Case("block to number", "a: |\n  1\n\nb: 1\n", "0/a", 2, "a: 2\n\nb: 1\n"),
        Case("block in a list", "l:\n- |\n  one\n- x\n", "0/l/0", "two\n", "l:\n- |\n  two\n- x\n"),
    ]

    @Test(arguments: cases)
    func replacesOneValueAndNothingElse(_ item: Case) throws {
        #expect(try Self.edit(item.before, item.path, item.value) == item.after)
    }

    @Test(arguments: [
        ("a: &x 1\nb: *x\n", "0/a", "alias"), ("a: &x {c: 1}\nb: {<<: *x}\n", "0/a/c", "alias"), ("a: &x {c: 1}\nb: {<<: *x}\n", "0/b/c", "alias"),
        ("a: &x [1]\nb: *x\n", "0/b/0", "alias"), ("a: !!str 1\n", "0/a", "tag"), ("a: &x\n  1\n", "0/a", "anchor"),
        ("a: {b: 1}\n", "0/a", "no value"),
        ("a:\n", "0/a", "no value"), ("a: [1]\n", "0/a", "no value"),
    ])
    func refusesWhatIsNotOneValue(text: String, path: String, reason: String) throws {
        let edit = ScalarEdit(at: try Self.position(path.split(separator: "/").map(String.init), in: text), to: 2)
        let error = #expect(throws: ScalarEditRefusals.self) { try editScalars([edit], in: Array(text.utf8), file: "f") }
        #expect(error?.refusals.map(\.reason).joined().contains(reason) == true, "\(String(describing: error))")
    }

    /// An anchor of another document, or one that was given again, is another one.
    @Test func anAliasMeansTheAnchorBeforeIt() throws {
        let text = "a: &x 1\nb: &x 2\nc: *x\n---\nd: &x 3\n"
        #expect(try Self.edit(text, ["0", "a"], 9) == "a: &x 9\nb: &x 2\nc: *x\n---\nd: &x 3\n")
        #expect(try Self.edit(text, ["1", "d"], 9) == "a: &x 1\nb: &x 2\nc: *x\n---\nd: &x 9\n")
        #expect(throws: ScalarEditRefusals.self) { try Self.edit(text, ["0", "b"], 9) }
    }

    @Test(arguments: [nil, [1], ["a": 1], .sensitive(SensitiveValue("s"))] as [Value])
    func writesScalarsAlone(value: Value) {
        #expect(throws: ScalarEditRefusals.self) { try Self.edit("a: 1\n", ["0", "a"], value) }
    }

    @Test func refusesOtherEncodingsAndWhatIsNoYAML() throws {
        let wide: [UInt8] = [0xFF, 0xFE] + "a: 1\n".utf8.flatMap { (byte: UInt8) -> [UInt8] in [byte, 0] }
        let place = SourcePosition(file: "f", line: 1, column: 4)
        for bytes in [wide, Array("a: [1\n".utf8), []] {
            #expect(throws: ScalarEditRefusals.self) { try editScalars([ScalarEdit(at: place, to: 2)], in: bytes, file: "f") }
        }
    }

    /// Several random values in a random text: afterwards it reads as the tree with these values, and every line without one is as it was.
    @Test func readsAsIntendedAfterAnyEdits() throws {
        var generator = SeededGenerator(state: 31)
        var edited = 0
        for _ in 0..<800 {
            let text = RandomYAML.document(using: &generator)
            let bytes = Array(text.utf8)
            let documents = parseYAML(bytes, file: "f").documents
            var places: [SourcePosition] = []
            for document in documents { RandomYAML.values(of: document) { places.append($0.position) } }
            var edits: [SourcePosition: Value] = [:]
            for place in places where Int.random(in: 0..<3, using: &generator) == 0 { edits[place] = RandomYAML.value(using: &generator) }
            let result = try editScalars(edits.map { ScalarEdit(at: $0.key, to: $0.value) }, in: bytes, file: "f")
            let after = parseYAML(result.after, file: "f")
            #expect(after.error == nil)
            var errors: [YAMLError] = []
            #expect(after.documents.map { $0.value(errors: &errors) } == documents.map { RandomYAML.value(of: $0, with: edits) }, "\(text)")
            #expect(errors.isEmpty)
            let comments = { (text: [UInt8]) in text.split(separator: UInt8(ascii: "\n")).filter { $0.first == UInt8(ascii: "#") } }
            #expect(comments(result.after) == comments(bytes))
            edited += edits.count
        }
        #expect(edited > 1000)
    }
}

/// Texts in every style, with comments between.
private enum RandomYAML {
    static func document(using generator: inout SeededGenerator) -> String {
        let lineBreak = Bool.random(using: &generator) ? "\n" : "\r\n"
        var text = Int.random(in: 0..<4, using: &generator) == 0 ? "\u{FEFF}" : ""
        for _ in 0..<Int.random(in: 1...2, using: &generator) {
            text += "---\n# ä 🙂 comment\n" + mapping(depth: 3, indent: "", using: &generator)
        }
        return text.replacing("\n", with: lineBreak)
    }

    private static func mapping(depth: Int, indent: String, using generator: inout SeededGenerator) -> String {
        var text = ""
        for index in 0..<Int.random(in: 1...4, using: &generator) {
            if Int.random(in: 0..<4, using: &generator) == 0 { text += "# between\n" }
            text += "\(indent)k\(index):"
            switch Int.random(in: 0..<(depth > 0 ? 6 : 3), using: &generator) {
            case 0: text += " \(inline(using: &generator)) # é\n"
            case 1: text += " {a: \(inline(using: &generator)), 'b': [\(inline(using: &generator)), \(inline(using: &generator))]}\n"
            case 2: text += " \(["|", "|-", ">", "|+"].randomElement(using: &generator) ?? "|")\n\(indent)  one ü\n\n\(indent)  two\n\n"
            case 3: text += "\n" + mapping(depth: depth - 1, indent: indent + "  ", using: &generator)
            case 4: text += "\n\(indent)- \(inline(using: &generator))\n\(indent)-   \(inline(using: &generator))\n"
            default: text += " &anchor\(index) \(inline(using: &generator))\n"
            }
        }
        return text
    }

    private static func inline(using generator: inout SeededGenerator) -> String {
        ["1", "x", "'it''s'", "\"a\\tb\"", "true", "ö 日本", "1.5", "\"\"", "a:b", "''"].randomElement(using: &generator) ?? "x"
    }

    static func value(using generator: inout SeededGenerator) -> Value {
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: .bool(Bool.random(using: &generator))
        case 1: .int(Int64.random(in: -9_999_999...9_999_999, using: &generator))
        case 2: .double(Double(Int.random(in: -999...999, using: &generator)) / 8)
        default:
            .string(
                (0..<Int.random(in: 0...8, using: &generator)).map { _ in
                    [
                        "a", "1", " ", "\n", ":", "#", "'", "\"", "\\", "-", ",", "]", "{", "&", "*", "é", "🙂", "\t", "\u{202E}", "\u{7}", "\r", "%",
                        "@",
                    ]
                    .randomElement(using: &generator) ?? "a"
                }
                .joined()
            )
        }
    }

    static func values(of node: YAMLNode, _ body: (YAMLNode) -> Void) {
        switch node.content {
        case .scalar: body(node)
        case .sequence(let elements): for element in elements { values(of: element, body) }
        case .mapping(let entries): for entry in entries { values(of: entry.value, body) }
        }
    }

    static func value(of node: YAMLNode, with edits: [SourcePosition: Value]) -> Value {
        switch node.content {
        case .scalar:
            if let value = edits[node.position] { return value }
            var errors: [YAMLError] = []
            return node.value(errors: &errors)
        case .sequence(let elements): return .array(elements.map { value(of: $0, with: edits) })
        case .mapping(let entries):
            return .object(Dictionary(entries.map { ($0.key.scalar?.text ?? "", value(of: $0.value, with: edits)) }) { first, _ in first })
        }
    }
}
