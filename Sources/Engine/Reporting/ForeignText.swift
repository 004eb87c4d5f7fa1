/// Text of others inside a comment at a forge.
///
/// It stands in code and nowhere else. Forges look for mentions, references, links and emoji in what they have rendered already, so that an
/// escaped `@` is one again by then; in code they leave it alone. No line begins with it: some forges take orders from the beginnings of lines.
enum ForeignText {
    /// A code span that its content can't leave, of at most `limit` characters as Unicode has them.
    static func code(_ text: String, limit: Int = 200) -> String {
        let shown = inert(text, limit: limit)
        var longest = 0
        var run = 0
        for scalar in shown.unicodeScalars {
            run = scalar == "`" ? run + 1 : 0
            longest = max(longest, run)
        }
        let fence = String(repeating: "`", count: longest + 1)
        let padding = shown.hasPrefix("`") || shown.hasSuffix("`") || shown.allSatisfy { $0 == " " } ? " " : ""
        return fence + padding + shown + padding + fence
    }

    /// The same where a forge reads HTML and no Markdown.
    static func htmlCode(_ text: String, limit: Int = 200) -> String {
        var result = "<code>"
        for scalar in inert(text, limit: limit).unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "</code>"
    }

    /// One line in which nothing acts, cut to a length in scalars: a single character can be made of a million of them.
    private static func inert(_ text: String, limit: Int) -> String {
        var result = ""
        // One without a letter would sit on the fence.
        var marks = 3
        for (index, scalar) in text.unicodeScalars.enumerated() {
            guard index < limit else {
                result += "… (cut)"
                break
            }
            switch scalar.properties.generalCategory {
            case .nonspacingMark, .enclosingMark, .spacingMark: marks += 1
            default: marks = 0
            }
            // More marks than any script puts on a letter would hide the lines around it.
            if marks > 3 {
                result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
            } else {
                result += Escaping.shown(String(scalar))
            }
        }
        return result
    }
}
