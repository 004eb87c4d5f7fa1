import ResourceModel

/// The probe's answers, read by kinds section by section.
struct HostFacts {
    private var sections: [String: SectionOutput]

    init(_ facts: TargetFacts) {
        if case .host(let sections) = facts.facts { self.sections = sections } else { sections = [:] }
    }

    /// A fact that could not be read, and what to do about it. Never the same as "not there".
    struct Unreadable: Error, Hashable {
        var status: ProblemStatus
        var message: String

        init(_ message: String, status: ProblemStatus = .unknown) {
            self.status = status
            self.message = message
        }

        var standing: ResourceDrift.Standing { .problem(status, message) }

        /// Several at once: `denied` wins, since a person can mend it.
        static func joined(_ reasons: [Unreadable]) -> Unreadable {
            var seen: Set<String> = []
            let messages = reasons.map(\.message).filter { seen.insert($0).inserted }
            return Unreadable(messages.joined(separator: "; "), status: reasons.contains { $0.status == .denied } ? .denied : .unknown)
        }
    }

    /// The output of a section that succeeded.
    func output(of name: String) throws(Unreadable) -> String {
        guard let section = sections[name] else { throw Unreadable("the probe brought no answer for '\(name)'") }
        if section.status == 0 { return section.output }
        let said = Self.firstLine(section.errorOutput)
        if let denied = Self.denial(in: section.errorOutput) {
            throw Unreadable("'\(name)' may not be read: \(denied)", status: .denied)
        }
        throw Unreadable("'\(name)' can't be read: \(said.isEmpty ? "its command ended with status \(section.status)" : said)")
    }

    /// What a section wrote to its standard error, or "".
    func errorOutput(of name: String) -> String { sections[name]?.errorOutput ?? "" }

    /// The section as it came, for kinds that explain a failure themselves.
    func section(_ name: String) -> SectionOutput? { sections[name] }

    /// The login name, or `USER` where it is not known, for sudoers lines.
    var user: String {
        let name = Self.firstLine((try? output(of: "user")) ?? "")
        return name.isEmpty ? "USER" : name
    }

    /// The line in which a command says that it was not let through, or nil where the failure is another.
    static func denial(in errorOutput: String) -> String? {
        let signs = [
            "a password is required", "a terminal is required", "not allowed to", "not in the sudoers", "may not run sudo", "must be root",
            "Permission denied", "Operation not permitted", "sudo: not found", "sudo: command not found", "you do not exist in the passwd database",
        ]
        return errorOutput.lines.map(\.trimmed).first { line in signs.contains { line.contains($0) } }
    }

    /// The first line that says something, cut to a length that fits in a message.
    static func firstLine(_ text: String) -> String {
        let line = text.lines.map(\.trimmed).first { !$0.isEmpty } ?? ""
        return line.count > 160 ? line.prefix(160) + "…" : line
    }
}

extension StringProtocol {
    /// The lines that are not empty. Split at line feeds alone: in Swift a carriage return before one makes both a single character.
    var lines: [String] { unicodeScalars.split(separator: "\n").map { String(String.UnicodeScalarView($0)) } }

    /// Without the spaces, tabs and line ends on both sides.
    var trimmed: String {
        let kept = drop { $0.isWhitespace }
        guard let last = kept.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return String(kept[...last])
    }
}
