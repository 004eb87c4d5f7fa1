import Testing
import Values
import YAML

struct YAMLTests {
    private func value(_ text: String) throws -> Value {
        let (documents, error) = parseYAML(Array(text.utf8), file: "f")
        #expect(error == nil)
        var errors: [YAMLError] = []
        let value = try #require(documents.first).value(errors: &errors)
        #expect(errors.isEmpty)
        return value
    }

    @Test(
        arguments: [
            ("1", .int(1)), ("-1", .int(-1)), ("+7", .int(7)), ("0x1F", .int(31)), ("0o17", .int(15)), ("017", .int(15)), ("0b101", .int(5)),
            ("1_000", .int(1000)), ("1.5", .double(1.5)), ("1e3", .double(1000)), (".5", .double(0.5)), ("24.10", .double(24.1)),
            ("\"24.10\"", "24.10"), ("'1'", "1"), ("!!str 1", "1"), ("true", true), ("yes", true), ("Off", false), ("~", nil), ("null", nil),
            ("nullable", "nullable"), ("1.2.3", "1.2.3"), ("192.0.2.1", "192.0.2.1"), ("1m", "1m"), ("0x", "0x"), ("08", "08"),
            ("2026-01-01", "2026-01-01"), ("|\n  a\n  b\n", "a\nb\n"), (">\n  a\n  b\n", "a b\n"), ("[1, x]", [1, "x"]),
            ("{a: {b: []}}", ["a": ["b": []]]),
        ] as [(String, Value)]
    )
    func resolvesScalarsAsKubernetesToolsDo(text: String, expected: Value) throws {
        let found = try value("key: \(text)\n")["key"]
        // 08 is no octal number; what the tools make of it differs, so it only has to stay unharmed or be a number.
        if text == "08" { return #expect(found == "08" || found == .int(8)) }
        #expect(found == expected)
    }

    @Test(arguments: [".inf", ".nan", "99999999999999999999", "!!python/object x"])
    func refusesWhatJSONHasNoWordFor(text: String) throws {
        let (documents, error) = parseYAML(Array("a: \(text)\n".utf8), file: "f")
        #expect(error == nil)
        var errors: [YAMLError] = []
        _ = try #require(documents.first).value(errors: &errors)
        #expect(errors.map(\.position) == [SourcePosition(file: "f", line: 1, column: 4)])
    }

    @Test func everyNodeHasItsPlace() throws {
        let (documents, _) = parseYAML(Array("# comment\n---\na: 1\nb:\n  - x\n  - {c: ü, d: y}\n---\ne: 2\n".utf8), file: "f")
        #expect(documents.count == 2)
        #expect(documents.first?["a"]?.position.description == "f:3:4")
        let mapping = try #require(documents.first?["b"]?.elements?.last)
        #expect(mapping.position.description == "f:6:5")
        // Columns count characters, not bytes.
        #expect(mapping["d"]?.position.description == "f:6:15")
        #expect(documents.last?["e"]?.position.description == "f:8:4")
    }

    @Test func aDuplicateKeyNamesBothPlaces() throws {
        let (documents, _) = parseYAML(Array("a: 1\nb: 2\na: 3\n".utf8), file: "f")
        var errors: [YAMLError] = []
        _ = try #require(documents.first).value(errors: &errors)
        #expect(errors.first?.position.description == "f:3:1")
        #expect(errors.first?.fix.contains("f:1:1") == true)
    }

    @Test func mergesAnchors() throws {
        let found = try value("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\n")
        #expect(found["b"] == ["x": 1, "y": 3])
        #expect(found["c"] == ["x": 1, "y": 2, "z": 4])
    }

    @Test func limitsHold() {
        var limits = YAMLLimits()
        limits.bytes = 10
        #expect(parseYAML(Array("a: 0123456789".utf8), file: "f", limits: limits).error != nil)
        limits = YAMLLimits()
        limits.documents = 2
        let documents = parseYAML(Array("a: 1\n---\na: 2\n---\na: 3\n".utf8), file: "f", limits: limits)
        #expect(documents.documents.count == 2 && documents.error?.position.line == 5)
        limits = YAMLLimits()
        limits.nodes = 5
        #expect(parseYAML(Array("[1,2,3,4,5,6]".utf8), file: "f", limits: limits).error != nil)
        let deep = String(repeating: "[", count: 100_000)
        #expect(parseYAML(Array(deep.utf8), file: "f").error?.message.contains("nested deeper") == true)
        var bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        for index in 1..<20 { bomb += "a\(index): &a\(index) [\(Array(repeating: "*a\(index - 1)", count: 10).joined(separator: ","))]\n" }
        #expect(parseYAML(Array(bomb.utf8), file: "f").error?.message.contains("aliases") == true)
    }

    /// Whatever the bytes are, parsing ends without a trap, and what it returns has places inside the text.
    @Test func endsOnAnyInput() {
        var generator = SeededGenerator(state: 7)
        let alphabet = Array("ab:-[]{},&*!|>'\"%@`#?~ \n\t0\u{0}\u{1B}".utf8) + [0xFF, 0xC3, 0xA9, 0xEF, 0xBB, 0xBF]
        for _ in 0..<5000 {
            let length = Int.random(in: 0...60, using: &generator)
            let bytes = (0..<length).map { _ in alphabet.randomElement(using: &generator) ?? 0x20 }
            let (documents, error) = parseYAML(bytes, file: "f")
            for document in documents {
                var errors: [YAMLError] = []
                _ = document.value(errors: &errors)
            }
            if let error { #expect(error.position.line >= 1 && error.position.column >= 1 && !error.message.isEmpty) }
        }
    }

    /// What is written as JSON is read as the same value: YAML contains JSON.
    @Test func readsAllJSON() throws {
        var generator = SeededGenerator(state: 11)
        for _ in 0..<500 {
            let original = Value.random(depth: 3, using: &generator)
            #expect(try value("key: \(original.canonicalJSON)\n")["key"] == original)
            #expect(try Value(json: original.canonicalJSON.utf8) == original)
        }
    }
}

/// SplitMix64: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension Value {
    static func random(depth: Int, using generator: inout SeededGenerator) -> Value {
        switch Int.random(in: 0...(depth > 0 ? 6 : 4), using: &generator) {
        case 0: .null
        case 1: .bool(Bool.random(using: &generator))
        case 2: .int(Int64.random(in: .min + 1 ... .max, using: &generator))
        case 3: .double(Double(Int.random(in: -999...999, using: &generator)) + 0.5)
        case 4: .string(["", "x", "true", "1", "a: b", "#", "é\"\\", "\n\t", "- ", "null"].randomElement(using: &generator) ?? "")
        case 5: .array((0..<Int.random(in: 0...3, using: &generator)).map { _ in random(depth: depth - 1, using: &generator) })
        default:
            .object(
                Dictionary((0..<Int.random(in: 0...3, using: &generator)).map { ("k\($0)", random(depth: depth - 1, using: &generator)) }) { $1 }
            )
        }
    }
}
