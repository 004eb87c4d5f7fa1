package import ResourceModel

/// One command that a login which is not root may run as root, as sudoers has to allow it.
package struct SudoRight: Hashable, Sendable {
    /// The program's name and its arguments, as a step has them.
    package var command: [String]
    /// What it is for, one line.
    package var purpose: String

    init(_ command: [String], for purpose: String) {
        self.command = command
        self.purpose = purpose
    }
}

/// The sudo rights that the specs of one host need, and no others.
///
/// Exact command lines of programs where Debian and Ubuntu have them, without wildcards: what a spec does not ask for can't be run.
package struct SudoRights: Sendable {
    package struct Line: Hashable, Sendable {
        package var purpose: String
        /// `USER ALL=(root) NOPASSWD: COMMAND`
        package var text: String
    }

    package private(set) var lines: [Line] = []
    /// What is left out and why, and what gives away more than it seems to.
    package private(set) var notes: [String] = []
    private let user: String

    /// - Parameters:
    ///   - user: The login, checked as names in specs are.
    ///   - holding: What it takes to keep other applies out, as sudoers has it.
    ///   - canUndo: Whether changes that may cut the connection are made, too.
    package init(of resources: [DesiredResource], user: String, holding: [String], canUndo: Bool) {
        self.user = user
        for command in holding { add(command, "only one apply at a time") }
        var rights: [SudoRight] = []
        var mayDisconnect: [String] = []
        for resource in resources {
            switch resource.handler {
            case NetworkInterface.name: NetworkInterface.addRights(for: resource, to: &rights, &mayDisconnect, &notes)
            case IptablesChain.name: IptablesChain.addRights(for: resource, to: &rights, &mayDisconnect)
            default: break
            }
        }
        var purposes: [String: [String]] = [:]
        var order: [String] = []
        for right in rights {
            let text = Self.text(right.command)
            if purposes[text] == nil { order.append(text) }
            if purposes[text]?.contains(right.purpose) != true { purposes[text, default: []].append(right.purpose) }
        }
        for text in order { add(text, (purposes[text] ?? []).joined(separator: "; ")) }
        guard !mayDisconnect.isEmpty else { return }
        let things = mayDisconnect.joined(separator: ", ")
        if canUndo {
            add("/bin/sh -s plumb-undo", "takes back by itself what cut the connection: \(things)")
            notes.append("'/bin/sh -s plumb-undo' is as much as all of root's rights, since what undoes a change may be any command.")
        } else {
            notes.append(
                "Where it may cut the connection, this is blocked, for arming its undo takes all of root's rights (--allow-undo adds them): \(things)."
            )
        }
    }

    private mutating func add(_ command: String, _ purpose: String) {
        lines.append(Line(purpose: purpose, text: "\(Self.escaped(user, isPattern: false)) ALL=(root) NOPASSWD: \(command)"))
    }

    /// The file, for `visudo -cf`, and then /etc/sudoers.d.
    package func text(heading: [String]) -> String {
        var text = (heading + notes.map { "- \($0)" }).map { "# \($0)\n" }.joined()
        var last = ""
        for line in lines {
            if line.purpose != last { text += "\n# \(line.purpose)\n" }
            last = line.purpose
            text += line.text + "\n"
        }
        return text
    }

    /// The line that lets `user` run a command, for whoever was refused.
    package static func line(for command: [String], user: String) -> String {
        "\(escaped(user, isPattern: false)) ALL=(root) NOPASSWD: \(text(command))"
    }

    private static func text(_ command: [String]) -> String {
        guard let name = command.first else { return "" }
        let path = name.hasPrefix("/") ? name : "\(ofAdministrators.contains(name) || name.contains("tables") ? "/usr/sbin" : "/usr/bin")/\(name)"
        // Without any, every argument would be allowed.
        let arguments = command.count == 1 ? ["\"\""] : command.dropFirst().map { escaped($0, isPattern: true) }
        return ([path] + arguments).joined(separator: " ")
    }

    private static let ofAdministrators: Set = ["ip", "nft"]

    /// - Parameter isPattern: sudo compares arguments as the shell does file names, after its own escapes are taken away: what stands for itself there is
    ///   escaped once more.
    private static func escaped(_ text: String, isPattern: Bool) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += isPattern ? #"\\\\"# : #"\\"#
            case "*", "?", "[", "]", ",", ":", "=", "#", "!", "\"": result += "\\\(character)"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}
