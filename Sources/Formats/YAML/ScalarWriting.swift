import Values

/// How values are written where other scalars stood.
extension ScalarToken {
    /// - Parameter text: All of the file.
    /// - Returns: which bytes to replace, and with what; nil where the value is no scalar.
    func replacement(by value: Value, in text: [UInt8]) -> TextReplacement? {
        switch value {
        case .bool(let isTrue): return replace(inLine: isTrue ? "true" : "false", in: text)
        case .int(let number): return replace(inLine: String(number), in: text)
        case .double(let number): return number.isFinite ? replace(inLine: String(number), in: text) : nil
        case .string(let string):
            if style == .block, let block = block(string, in: text) { return block }
            return replace(inLine: written(string), in: text)
        case .null, .array, .object, .sensitive: return nil
        }
    }

    private func replace(inLine words: String, in text: [UInt8]) -> TextReplacement {
        TextReplacement(range: style == .block ? bytes.lowerBound..<Block(bytes, in: text).end : bytes, text: Array(words.utf8))
    }

    /// The quotes stay, as far as they can hold the text; without quotes only what every reader of YAML takes for the same text.
    private func written(_ string: String) -> String {
        let isOneLine = string.unicodeScalars.allSatisfy { YAMLText.isPrintable($0) && $0 != "\t" }
        switch style {
        case .plain where isOneLine && YAMLText.isPlain(string, isInFlow: isInFlow): return string
        case .singleQuoted where isOneLine: return "'\(string.replacing("'", with: "''"))'"
        default: return YAMLText.doubleQuoted(string)
        }
    }

    /// As a literal block (`|`) in the place and with the indentation of the block that is there; nil where a block can't hold it.
    private func block(_ string: String, in text: [UInt8]) -> TextReplacement? {
        let block = Block(bytes, in: text)
        guard let indentation = block.indentation, !block.sizeIsGiven else { return nil }
        guard let first = string.first, !first.isWhitespace, !string.hasSuffix("\n\n"), !string.contains("\r") else { return nil }
        guard string.unicodeScalars.allSatisfy({ $0 == "\n" || YAMLText.isPrintable($0) }) else { return nil }
        let endsLine = string.hasSuffix("\n")
        let lines = (endsLine ? string.dropLast() : Substring(string)).split(separator: "\n", omittingEmptySubsequences: false)
        let margin = String(repeating: " ", count: indentation)
        var result = "|\(endsLine ? "" : "-")\(block.remark)"
        for line in lines { result += block.lineBreak + (line.isEmpty ? "" : margin + line) }
        if endsLine, block.end == text.count { result += block.lineBreak }
        return TextReplacement(range: bytes.lowerBound..<block.end, text: Array(result.utf8))
    }
}

/// The parts of a block scalar (`|` or `>`).
private struct Block {
    /// After the last line that is not empty, before its line break.
    var end: Int
    var lineBreak = "\n"
    /// What follows `|` and its indicators in the first line: a comment, mostly.
    var remark = ""
    /// `|2`: the indentation is given, since it can't be seen.
    var sizeIsGiven = false
    /// Of its lines, in spaces; nil where all are empty.
    var indentation: Int?

    init(_ range: Range<Int>, in text: [UInt8]) {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let (feed, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
        let slice = text[range]
        let headerEnd = slice.firstIndex { $0 == feed || $0 == carriageReturn } ?? range.upperBound
        let indicators = slice[..<headerEnd].dropFirst().prefix { "+-0123456789".utf8.contains($0) }
        sizeIsGiven = indicators.contains { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        remark = String(decoding: text[indicators.endIndex..<headerEnd], as: UTF8.self)
        if headerEnd < range.upperBound, slice[headerEnd] == carriageReturn { lineBreak = "\r\n" }

        end = range.upperBound
        while end > headerEnd {
            if slice[end - 1] == feed { end -= 1 }
            if end > headerEnd, slice[end - 1] == carriageReturn { end -= 1 }
            let lineStart = (slice[headerEnd..<end].lastIndex { $0 == feed || $0 == carriageReturn } ?? headerEnd) + 1
            guard lineStart <= end, slice[lineStart..<end].allSatisfy(isBlank) else { break }
            end = lineStart - 1 < headerEnd ? headerEnd : lineStart
            if end == headerEnd { break }
        }
        for line in slice[headerEnd..<end].split(whereSeparator: { $0 == feed || $0 == carriageReturn }) where !line.allSatisfy(isBlank) {
            indentation = line.prefix { $0 == UInt8(ascii: " ") }.count
            break
        }
    }
}

/// Texts as scalars.
enum YAMLText {
    /// What may stand in a file as it is. Characters that turn the direction of writing or can't be seen are written as escapes instead.
    static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar == "\t" { return true }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: return false
        default: return true
        }
    }

    /// Whether a text can stand without quotes and is a text to every reader: to those of YAML 1.1, `on` is true, `1:30` a number and
    /// `2026-01-01` a date. In doubt it is quoted.
    static func isPlain(_ text: String, isInFlow: Bool) -> Bool {
        let scalars = Array(text.unicodeScalars)
        guard let first = scalars.first, let last = scalars.last, last != " ", last != ":" else { return false }
        guard isWord(first) || "_/.".unicodeScalars.contains(first) else { return false }
        for (index, scalar) in scalars.enumerated() {
            if isWord(scalar) || "_-./+@%~=".unicodeScalars.contains(scalar) { continue }
            if scalar == " " { continue }
            guard scalar == ":", scalars.indices.contains(index + 1), scalars[index + 1] != " " else { return false }
            if isInFlow, !isWord(scalars[index + 1]), scalars[index + 1] != "/" { return false }
        }
        if isDigit(first) || first == "." {
            let telling = scalars.contains { isWord($0) && !isDigit($0) && !"eExXoObBTZ".unicodeScalars.contains($0) }
            guard telling else { return false }
        }
        return (try? YAMLScalar(text: text, isPlain: true).resolved()) == .string(text)
    }

    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool { isDigit(scalar) || scalar.properties.isAlphabetic }

    static func doubleQuoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where isPrintable(scalar): result.unicodeScalars.append(scalar)
            default:
                let digits = String(scalar.value, radix: 16, uppercase: true)
                let (letter, width) = scalar.value <= 0xFF ? ("x", 2) : scalar.value <= 0xFFFF ? ("u", 4) : ("U", 8)
                result += "\\\(letter)\(String(repeating: "0", count: width - digits.count))\(digits)"
            }
        }
        return result + "\""
    }
}
