/// The one place where text that hosts, servers, paths or specs gave us is made harmless for what shows it.
///
/// All reports build plain text from `shown(_:)`, so that nothing a host prints can move a cursor, colour a line, forge one, or turn the
/// direction of writing.
package enum Escaping {
    /// Whether a terminal, an editor or a browser might act on this character instead of showing it.
    package static func isActive(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        // Control characters; formatting such as bidi overrides and zero-width joiners; line separators; what has no meaning yet.
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }

    /// One line in which every active character stands as an escape sequence that can be read: `\n`, `\t`, `\u{1B}`.
    package static func shown(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isActive) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where isActive(scalar): result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// `shown(_:)` for several lines: line feeds stay, each further line is indented.
    package static func lines(_ text: String, indent: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: true).map { shown(String($0)) }.joined(separator: "\n" + indent)
    }

    /// `shown(_:)`, cut in the middle of nothing: at most `limit` characters, with the number of those left out.
    package static func shortened(_ text: String, limit: Int) -> String {
        let shown = shown(text)
        guard shown.count > limit else { return shown }
        return "\(shown.prefix(limit))… (\(shown.count - limit) more characters)"
    }

    /// Text for Markdown outside code: no markup, no HTML, no mention, no link.
    package static func markdown(_ text: String) -> String {
        var result = ""
        for character in shown(text) {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "@": result += "&#64;"
            case "#": result += "&#35;"
            case ":": result += "&#58;"
            case "\\", "`", "*", "_", "{", "}", "[", "]", "(", ")", "!", "|", "~", "$", "^": result += "\\\(character)"
            default: result.append(character)
            }
        }
        return result
    }

    /// A code span that its content can't leave.
    package static func markdownCode(_ text: String) -> String {
        let shown = shown(text)
        var longest = 0
        var run = 0
        for character in shown {
            run = character == "`" ? run + 1 : 0
            longest = max(longest, run)
        }
        let fence = String(repeating: "`", count: longest + 1)
        let padding = shown.hasPrefix("`") || shown.hasSuffix("`") || shown.isEmpty ? " " : ""
        // In a table cell a bar ends the cell even inside code.
        return fence + padding + shown.replacing("|", with: "\\|") + padding + fence
    }
}
