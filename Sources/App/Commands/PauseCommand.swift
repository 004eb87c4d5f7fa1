import ArgumentParser
import Foundation
import Reporting
import ResourceModel
import Stores

struct PauseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause",
        abstract: "The brake: leave things as they are until 'plumb resume', or for a time.",
        discussion: """
            From the next action on, every plan, apply, release and controller that uses the same data directory leaves alone what is paused; a
            running action is finished or undone first. It is still looked at and reported as held. Nothing is contacted: git, cluster, hosts and
            controller may be down. Pausing the same again gives it the new reason and time.

            For everybody, whatever their data directory: the annotation plumb/pause: "REASON" in a spec or on the live object (kubectl annotate),
            or a file /etc/plumb/pause of root's on a host.
            Exit status: 0 when it is paused, else 1.
            """
    )

    @OptionGroup var scopes: ScopeArguments

    @Option(help: ArgumentHelp("Why; everybody who meets the pause is told.", valueName: "text"))
    var reason: String?

    @Option(name: .customLong("for"), help: ArgumentHelp("How long: 90s, 30m, 4h (default: until it is resumed).", valueName: "duration"))
    var duration: DurationArgument?

    @Flag(help: "Only show what is paused.")
    var list = false

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func validate() throws {
        try scopes.check()
        if list {
            guard scopes.isEmpty, reason == nil, duration == nil else { throw ValidationError("--list only shows what is paused.") }
            return
        }
        guard !scopes.isEmpty else { throw ValidationError("Say what: an address or a glob, --host HOST, or --all. --list shows what is paused.") }
        guard let reason, reason.contains(where: { !$0.isWhitespace }) else {
            throw ValidationError("--reason must say why: whoever finds it paused at 3 a.m. has to know.")
        }
        guard reason.count <= 500 else { throw ValidationError("--reason may have 500 characters, not \(reason.count).") }
    }

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        do throws(StoreFailure) {
            let path = try dataDirectory.requiredPath()
            if list {
                terminal.write(PauseReport.text(of: try Brake(dataDirectory: path).pauses()))
                return
            }
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            let caller = Caller.current(environment: ProcessInfo.processInfo.environment)
            // To the millisecond, as it is kept.
            let now = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 * 1000).rounded() / 1000)
            let until = duration.map { now.addingTimeInterval($0.value / .seconds(1)) }
            let reason = reason ?? ""
            let records = scopes.all.map { PauseRecord($0, reason: reason, user: caller.user, host: caller.host, since: now, until: until) }
            let end = until.map { "until \($0.shown)" } ?? "until it is resumed"
            _ = try await journal.pause(
                records.map { ($0, Pause.Scope($0.scope).words) },
                by: caller,
                message: "\(reason); \(end)",
                at: now
            )
            for record in records { terminal.write("Paused: \(Escaping.shown(Pause.Scope(record.scope).words)), \(end).\n") }
            hint(records, known: Array(try await journal.inventory().identities.keys), terminal: terminal)
        } catch {
            throw terminal.failed(error, list ? "" : "nothing was paused")
        }
    }

    /// A slip in a name would pause nothing. Only names that Plumb has met here can be compared with; a new host may be none of them.
    private func hint(_ records: [PauseRecord], known: [String], terminal: Terminal) {
        guard !known.isEmpty else { return }
        for record in records {
            let pattern: String
            switch record.scope {
            case .addresses(let glob) where !known.contains(where: { AddressGlob(glob).couldMatch(target: $0) }): pattern = glob
            case .host(let name) where !known.contains(name): pattern = name
            default: continue
            }
            let nearest = Diagnostic.nearest(to: String(pattern.prefix { $0 != "/" }), among: known).map { " Did you mean '\($0)'?" } ?? ""
            let message = "nothing that '\(pattern)' means was met here yet; it is paused all the same.\(nearest)"
            terminal.writeError("note: \(Escaping.shown(message))\n")
        }
    }
}

struct ResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Take back what 'plumb pause' has paused.",
        discussion: """
            A glob takes back the pause that was given with the same glob, and those of all that it matches; --host H the pause of that host, and
            those of addresses at it; --all every pause there is. A controller goes on within a second, and tries at once what it had backed off from.
            Exit status: 0 when nothing of it is paused any more; 1 where a wider pause holds it still, or the journal can't be written.
            """
    )

    @OptionGroup var scopes: ScopeArguments

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func validate() throws { try scopes.check() }

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        do throws(StoreFailure) {
            let path = try dataDirectory.requiredPath()
            if scopes.isEmpty {
                terminal.writeError("\(terminal.errors.errorWord): say what to resume: what was paused, --host HOST, or --all\n")
                terminal.writeError(PauseReport.text(of: try Brake(dataDirectory: path).pauses()))
                throw StoreFailure.usage
            }
            let journal = try Journal.open(in: try DataDirectory(creating: path))
            let caller = Caller.current(environment: ProcessInfo.processInfo.environment)
            let scopes = scopes.all
            let (resumed, left) = try await journal.resume(
                scopes.map { ($0, Pause.Scope($0).words) },
                where: { record in scopes.contains { $0.takesBack(record.scope) } },
                by: caller,
                message: { resumed in
                    resumed.isEmpty ? "nothing was paused there" : "went on: \(resumed.map { Pause.Scope($0.scope).words }.joined(separator: " "))"
                },
                at: Date()
            )
            for record in resumed {
                terminal.write("Resumed: \(Escaping.shown(Pause.Scope(record.scope).words)) (\(Escaping.shown(record.reason))).\n")
            }
            if resumed.isEmpty {
                terminal.write("Nothing was paused there. What a controller had backed off from there is tried again at once.\n")
            }
            let wider = left.filter { record in scopes.contains { record.scope.reaches($0) } }
            guard let first = wider.first else { return }
            let words = wider.map { Pause.Scope($0.scope).words }.joined(separator: " ")
            throw StoreFailure(
                "it is paused still, by a wider pause: \(words)",
                fix: "A part of a pause can't be taken back. All of it: plumb resume \(Pause.Scope(first.scope).words)"
            )
        } catch {
            if error == .usage { throw ExitCode(64) }
            throw terminal.failed(error)
        }
    }
}

/// What `pause` and `resume` are about.
struct ScopeArguments: ParsableArguments {
    @Argument(help: ArgumentHelp("Addresses or globs, as --target takes them ('*' also matches '/').", valueName: "address-or-glob"))
    var globs: [String] = []

    @Option(name: .customLong("host"), help: ArgumentHelp("Everything at this host or cluster. May be repeated.", valueName: "name"))
    var hosts: [String] = []

    @Flag(name: .customLong("all"), help: "Everything everywhere.")
    var everything = false

    var isEmpty: Bool { globs.isEmpty && hosts.isEmpty && !everything }

    /// Each once.
    var all: [PauseRecord.Scope] {
        var seen: Set<PauseRecord.Scope> = []
        return (globs.map(PauseRecord.Scope.addresses) + hosts.map(PauseRecord.Scope.host) + (everything ? [.all] : [])).filter {
            seen.insert($0).inserted
        }
    }

    func check() throws {
        guard !everything || globs.isEmpty && hosts.isEmpty else { throw ValidationError("--all is everything already; give nothing else with it.") }
        for text in globs + hosts {
            guard !text.isEmpty, text.count <= 500, !text.unicodeScalars.contains(where: { $0.properties.isWhitespace || $0.value < 32 }) else {
                throw ValidationError("'\(Escaping.shown(text))' can't be an address, a glob or a name.")
            }
        }
        for host in hosts where host.contains("/") || host.contains("*") || host.contains("?") {
            throw ValidationError("--host takes a name; give '\(host)' without --host.")
        }
    }
}

extension PauseRecord.Scope {
    /// Whether resuming this takes back a pause of that scope: all that it pauses is meant.
    fileprivate func takesBack(_ other: Self) -> Bool {
        switch (self, other) {
        case (.all, _): true
        case (_, .all): false
        case (.host(let name), .host(let other)): name == other
        case (.host(let name), .addresses(let glob)): glob == name || glob.hasPrefix("\(name)/")
        case (.addresses(let glob), .host(let name)):
            glob == name || AddressGlob(glob).matches(ResourceAddress(target: name, resource: ""))
        case (.addresses(let glob), .addresses(let other)):
            glob == other || AddressGlob(glob).includes(ResourceAddress(other)) || other == "\(glob)/*"
        }
    }

    /// Whether a pause of this scope holds something that was to be resumed.
    fileprivate func reaches(_ resumed: Self) -> Bool {
        switch resumed {
        case .all: true
        case .host(let name):
            switch self {
            case .all: true
            case .host(let other): other == name
            case .addresses(let glob): AddressGlob(glob).couldMatch(target: name)
            }
        case .addresses(let glob): Pause(Pause.Scope(self), reason: "", origin: .command).covers(ResourceAddress(glob))
        }
    }
}

extension ResourceAddress {
    /// A pattern taken for the address that it looks like.
    fileprivate init(_ pattern: String) {
        let parts = pattern.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        self.init(target: parts[0], resource: parts.count > 1 ? parts[1] : "")
    }
}

extension StoreFailure {
    fileprivate static let usage = StoreFailure("nothing was named", fix: "")
}

/// What is paused, as people read it.
enum PauseReport {
    static func text(of pauses: [Pause]) -> String {
        if pauses.isEmpty { return "Nothing is paused.\n" }
        return "Paused:\n"
            + pauses.map { pause in
                let start = pause.since.map { " since \($0)" } ?? ""
                let end = pause.until.map { " until \($0)" } ?? " until it is resumed"
                return "  \(Escaping.shown(pause.scope.words)): by \(Escaping.shown(pause.by))\(start)\(end)\n      \(Escaping.shown(pause.reason))\n"
            }
            .joined()
    }
}
