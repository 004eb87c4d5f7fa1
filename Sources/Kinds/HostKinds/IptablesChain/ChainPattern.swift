/// What a spec says in `chains`: an exact name, or a glob with `*`, `?`, `[abc]`, `[a-z]` and `[!abc]`.
struct ChainPattern: Hashable {
    let text: String
    let isGlob: Bool
    private let elements: [Element]

    private enum Element: Hashable {
        case literal(UInt8)
        case anyOne
        case anyNumber
        case oneOf([ClosedRange<UInt8>], negated: Bool)
    }

    /// The longest name the kernel takes for a chain, in bytes.
    static let longestName = 28
    /// The chains a table comes with. They can't be deleted, and emptying one opens or closes the whole host.
    static let builtIn: Set<String> = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]

    /// - Throws: why the text is neither a name nor a glob, as a clause that follows it.
    init(_ text: String) throws(Refusal) {
        guard !text.isEmpty else { throw Refusal("is empty") }
        guard !text.hasPrefix("-") else { throw Refusal("begins with '-'") }
        guard text.utf8.allSatisfy({ Self.isNameByte($0) || Self.globBytes.contains($0) }) else {
            throw Refusal("has characters other than A-Z, a-z, 0-9, _, - and those of a glob: * ? [ ] !")
        }
        elements = try Self.parse(Array(text.utf8))
        isGlob = elements.contains { if case .literal = $0 { false } else { true } }
        guard isGlob ? text.utf8.count <= 128 : text.utf8.count <= Self.longestName else {
            throw Refusal(isGlob ? "is longer than 128 characters" : "is longer than \(Self.longestName) characters")
        }
        guard !Self.builtIn.contains(text) else { throw Refusal("is a built-in chain, which is never emptied or deleted", fix: "") }
        self.text = text
    }

    struct Refusal: Error {
        var reason: String
        var fix: String
        init(_ reason: String, fix: String = "A name is 1 to 28 of A-Z, a-z, 0-9, _ and -; a glob has *, ?, [a-z] or [!a-z] as well.") {
            self.reason = reason
            self.fix = fix
        }
    }

    /// A name that may stand in a payload. Names that come from a host are checked as those from specs are.
    static func isSafeName(_ name: String) -> Bool {
        (1...longestName).contains(name.utf8.count) && !name.hasPrefix("-") && name.utf8.allSatisfy(isNameByte)
    }

    private static let globBytes = Set("*?[]!".utf8)

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    private static func parse(_ bytes: [UInt8]) throws(Refusal) -> [Element] {
        var elements: [Element] = []
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "*"): elements.append(.anyNumber)
            case UInt8(ascii: "?"): elements.append(.anyOne)
            case UInt8(ascii: "["):
                guard let end = bytes[(index + 1)...].firstIndex(of: UInt8(ascii: "]")) else { throw Refusal("has a '[' without its ']'") }
                elements.append(try set(Array(bytes[(index + 1)..<end])))
                index = end
            case UInt8(ascii: "]"): throw Refusal("has a ']' without its '['")
            case UInt8(ascii: "!"): throw Refusal("has a '!' that does not stand right after a '['")
            case let byte: elements.append(.literal(byte))
            }
            index += 1
        }
        return elements
    }

    private static func set(_ bytes: [UInt8]) throws(Refusal) -> Element {
        let negated = bytes.first == UInt8(ascii: "!")
        let members = negated ? Array(bytes.dropFirst()) : bytes
        guard !members.isEmpty else { throw Refusal("has an empty '[]'") }
        guard members.allSatisfy(isNameByte) else { throw Refusal("has one of * ? [ ! within '[]'") }
        var ranges: [ClosedRange<UInt8>] = []
        var index = 0
        while index < members.count {
            if index + 2 < members.count, members[index + 1] == UInt8(ascii: "-") {
                guard members[index] <= members[index + 2] else { throw Refusal("has a range within '[]' that runs backwards") }
                ranges.append(members[index]...members[index + 2])
                index += 3
            } else {
                ranges.append(members[index]...members[index])
                index += 1
            }
        }
        return .oneOf(ranges, negated: negated)
    }

    /// Whether a chain is meant. A built-in one never is.
    func matches(_ name: String) -> Bool {
        if Self.builtIn.contains(name) { return false }
        if !isGlob { return name == text }
        let bytes = Array(name.utf8)
        var element = 0
        var byte = 0
        // The last `*` that was met, and how much it has taken so far: only that one ever has to be tried again.
        var star: (element: Int, byte: Int)?
        while byte < bytes.count {
            if element < elements.count, elements[element] == .anyNumber {
                star = (element, byte)
                element += 1
            } else if element < elements.count, Self.matches(elements[element], bytes[byte]) {
                element += 1
                byte += 1
            } else if let last = star {
                star = (last.element, last.byte + 1)
                element = last.element + 1
                byte = last.byte + 1
            } else {
                return false
            }
        }
        return elements[element...].allSatisfy { $0 == .anyNumber }
    }

    private static func matches(_ element: Element, _ byte: UInt8) -> Bool {
        switch element {
        case .literal(let expected): expected == byte
        case .anyOne: true
        case .anyNumber: false
        case .oneOf(let ranges, let negated): ranges.contains { $0.contains(byte) } != negated
        }
    }
}
