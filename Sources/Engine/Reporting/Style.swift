package import ResourceModel
import YAML

/// Colours of a terminal, or none. Text that is not ours goes through `Escaping` before it is styled.
package struct Style: Sendable {
    /// False unless the output is a terminal and nobody asked for plain text.
    package var isColoured: Bool

    package init(isColoured: Bool) { self.isColoured = isColoured }

    package func bold(_ text: String) -> String { wrap(text, "1") }
    package func dim(_ text: String) -> String { wrap(text, "2") }
    package func red(_ text: String) -> String { wrap(text, "31") }
    package func green(_ text: String) -> String { wrap(text, "32") }
    package func yellow(_ text: String) -> String { wrap(text, "33") }
    package func cyan(_ text: String) -> String { wrap(text, "36") }
    package func boldRed(_ text: String) -> String { wrap(text, "1;31") }

    private func wrap(_ text: String, _ code: String) -> String { isColoured ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text }
}

extension Style {
    package var errorWord: String { boldRed("error") }
    package func question(_ text: String) -> String { bold(text) }
}

extension Diagnostic {
    /// As compilers write it, so that editors can jump to the place.
    package func text(style: Style) -> String {
        let start = "\(Escaping.shown(position.description)): \(style.errorWord): \(Escaping.shown(message))"
        return fix.isEmpty ? start : "\(start)\n    \(Escaping.shown(fix))"
    }
}
