package import ResourceModel

extension IptablesChain {
    /// One section for each family and backend, all tables at once: asking legacy for one table by name could load its kernel module.
    package static let probe: [ProbeSection] = Family.allCases.flatMap { family in
        Backend.allCases.map { ProbeSection(name: sectionName(family, $0), script: script(family, $0)) }
    }

    static func sectionName(_ family: Family, _ backend: Backend) -> String { "iptables-\(family.rawValue)-\(backend.rawValue)" }

    /// Prints the path of the tool that is used and then what it says; or that there is none, which is a success of its own kind.
    /// The plain name is used only where neither backend has a tool of its own: elsewhere it is an alias of one of the two.
    private static func script(_ family: Family, _ backend: Backend) -> String {
        let own = "\(family.command)-\(backend.rawValue)-save"
        let other = "\(family.command)-\(backend == .nft ? Backend.legacy.rawValue : Backend.nft.rawValue)-save"
        let plain = "\(family.command)-save"
        let isOurs = "echo \"\(toolMarker)$tool\"; LC_ALL=C $SUDO \(plain)"
        return """
            if tool=$(command -v \(own)); then
                echo "\(toolMarker)$tool"
                LC_ALL=C $SUDO \(own)
            elif command -v \(other) >/dev/null; then
                echo "\(absentMarker)"
            elif tool=$(command -v \(plain)); then
                case $(LC_ALL=C \(plain) -V 2>&1) in
                *nf_tables*) \(backend == .nft ? isOurs : "echo \"\(absentMarker)\"") ;;
                *) \(backend == .legacy ? isOurs : "echo \"\(absentMarker)\"") ;;
                esac
            else
                echo "\(absentMarker)"
            fi
            """
    }

    static let toolMarker = "# plumb: tool "
    static let absentMarker = "# plumb: absent"

    /// One family in one backend, as its `-save` command shows it.
    struct Rules: Hashable {
        /// `iptables-nft-save`: its sibling `…-restore` is what changes the same rules.
        var tool: String
        var tables: [Table: TableRules] = [:]
        /// Tables of which the tool shows only a part, with its own words.
        var unreadable: [Table: String] = [:]
    }

    struct TableRules: Hashable {
        /// In the order of the listing, built-in chains among them.
        var chains: [String] = []
        var rules: [Rule] = []

        func rules(of chain: String) -> [Rule] { rules.filter { $0.chain == chain } }

        /// The rules of other chains that jump or go to this one.
        func referrers(of chain: String) -> [Rule] { rules.filter { $0.chain != chain && $0.targets.contains(chain) } }
    }

    struct Rule: Hashable {
        var chain: String
        /// Counts from 1 within the chain.
        var position: Int
        /// The line as it was printed, without counters: `-A OUTPUT -p tcp -j OLD_A`.
        var line: String
        /// Everything that `-j` or `-g` is followed by.
        var targets: Set<String>

        /// The line with another command in place of `-A CHAIN`.
        func line(replacingCommandBy command: String) -> String { command + line.dropFirst("-A \(chain)".count) }
    }

    enum Observation: Hashable {
        /// There is no tool for this backend.
        case absent
        case rules(Rules)
        case unreadable(HostFacts.Unreadable)
    }

    static func observe(_ family: Family, _ backend: Backend, in facts: HostFacts) -> Observation {
        let name = sectionName(family, backend)
        let what = "\(family.rawValue) \(backend.rawValue)"
        guard let section = facts.section(name) else { return .unreadable(.init("the probe brought no answer for '\(name)'")) }
        let lines = section.output.lines
        let path = lines.first.flatMap { $0.hasPrefix(toolMarker) ? String($0.dropFirst(toolMarker.count)) : nil }
        guard section.status == 0 else {
            let tool = path ?? "\(family.command)-\(backend.rawValue)-save"
            return .unreadable(failure(of: tool, what: what, section: section, user: facts.user))
        }
        if lines == [absentMarker] { return .absent }
        guard let path, let tool = path.split(separator: "/").last.map(String.init), isSafeTool(tool, family) else {
            return .unreadable(.init("\(what): the answer does not begin as it should: '\(HostFacts.firstLine(section.output))'"))
        }
        do throws(HostFacts.Unreadable) {
            return .rules(try parse(lines.dropFirst(), tool: tool))
        } catch {
            return .unreadable(.init("\(what): \(error.message)", status: error.status))
        }
    }

    private static func failure(of path: String, what: String, section: SectionOutput, user: String) -> HostFacts.Unreadable {
        guard let denied = HostFacts.denial(in: section.errorOutput) else {
            let said = HostFacts.firstLine(section.errorOutput)
            return .init("\(what): \(path) failed with status \(section.status)\(said.isEmpty ? "" : ": \(said)")")
        }
        let restore = path.replacingSuffix("-save", by: "-restore")
        let line = "\(user) ALL=(root) NOPASSWD: \(path), \(restore) -w 5 --noflush"
        // sudo was there and refused, or we never asked it.
        let fix = "\(denied.contains("sudo") ? "Add" : "Give the host 'become: sudo' and add") this line to its sudoers (visudo): \(line)"
        return .init("\(what): \(path) must run as root and may not: \(denied). \(fix)", status: .denied)
    }

    /// The tools whose siblings may be run.
    static func isSafeTool(_ tool: String, _ family: Family) -> Bool {
        ["-nft-save", "-legacy-save", "-save"].contains { tool == family.command + $0 }
    }

    /// Reads what a `-save` command printed. A line that does not belong there makes all of it unreadable, and so does a table without its end:
    /// a save command whose output was cut short still ends with status 0.
    static func parse(_ lines: some Sequence<String>, tool: String) throws(HostFacts.Unreadable) -> Rules {
        var rules = Rules(tool: tool)
        var current: (name: String, table: TableRules)?
        var counts: [String: Int] = [:]
        for line in lines {
            if line.hasPrefix("#") {
                if let table = incompatibleTable(line) { rules.unreadable[table] = String(line.dropFirst()).trimmed }
            } else if line.hasPrefix("*"), current == nil {
                current = (String(line.dropFirst()), TableRules())
                counts = [:]
            } else if line == "COMMIT", let (name, table) = current {
                // A table that specs can't name (`broute`) is none of our business.
                if let name = Table(rawValue: name) { rules.tables[name] = table }
                current = nil
            } else if line.hasPrefix(":"), let chain = chainName(line), current != nil {
                current?.table.chains.append(chain)
            } else if var rule = rule(line), current != nil {
                rule.position = counts[rule.chain, default: 0] + 1
                counts[rule.chain] = rule.position
                current?.table.rules.append(rule)
            } else if !line.trimmed.isEmpty {
                throw .init("\(tool) printed a line that is no rule: '\(HostFacts.firstLine(line))'")
            }
        }
        if let current { throw .init("what \(tool) printed ends within table \(current.name)") }
        return rules
    }

    /// `# Table `nat' is incompatible, use 'nft' tool.` and `# Table `nat' contains incompatible base-chains, use 'nft' tool to list them.`
    private static func incompatibleTable(_ line: String) -> Table? {
        guard line.contains("incompatible"), line.hasPrefix("# Table `") else { return nil }
        return Table(rawValue: String(line.dropFirst("# Table `".count).prefix { $0 != "'" }))
    }

    /// `:NAME POLICY [PACKETS:BYTES]`
    private static func chainName(_ line: String) -> String? {
        let words = line.dropFirst().split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2].hasPrefix("["), words[2].hasSuffix("]"), !words[0].isEmpty else { return nil }
        return String(words[0])
    }

    /// `-A CHAIN …`, with or without `[PACKETS:BYTES]` before it.
    private static func rule(_ printed: String) -> Rule? {
        var line = printed[...]
        if line.hasPrefix("["), let end = line.firstIndex(of: "]") { line = line[line.index(after: end)...].drop { $0 == " " } }
        let words = tokens(String(line))
        guard words.count >= 2, words[0] == Token("-A"), !words[1].text.isEmpty, !words[1].isQuoted else { return nil }
        let chain = words[1].text
        guard line.hasPrefix("-A \(chain)") else { return nil }
        var targets: Set<String> = []
        for index in words.indices.dropFirst(2).dropLast() where !words[index].isQuoted {
            if ["-j", "-g", "--jump", "--goto"].contains(words[index].text) { targets.insert(words[index + 1].text) }
        }
        return Rule(chain: chain, position: 0, line: String(line), targets: targets)
    }

    struct Token: Hashable {
        var text: String
        var isQuoted = false
        init(_ text: String, isQuoted: Bool = false) {
            self.text = text
            self.isQuoted = isQuoted
        }
    }

    /// Splits a line as iptables-restore does: a closing quote ends a word, and a backslash means something only between quotes.
    static func tokens(_ line: String) -> [Token] {
        var tokens: [Token] = []
        var word = String.UnicodeScalarView()
        var isQuoted = false
        var isEscaped = false
        // Scalars, not characters: a combining mark in a comment must not swallow a quote.
        for character in line.unicodeScalars {
            if isQuoted {
                if isEscaped {
                    word.append(character)
                    isEscaped = false
                } else if character == "\\" {
                    isEscaped = true
                } else if character == "\"" {
                    tokens.append(Token(String(word), isQuoted: true))
                    word = .init()
                    isQuoted = false
                } else {
                    word.append(character)
                }
            } else if character == "\"" {
                isQuoted = true
            } else if character == " " || character == "\t" {
                if !word.isEmpty { tokens.append(Token(String(word))) }
                word = .init()
            } else {
                word.append(character)
            }
        }
        if !word.isEmpty { tokens.append(Token(String(word), isQuoted: isQuoted)) }
        return tokens
    }
}

extension String {
    func replacingSuffix(_ suffix: String, by other: String) -> String {
        hasSuffix(suffix) ? dropLast(suffix.count) + other : self
    }
}
