import ArgumentParser
import Controller
import Foundation
import Reporting
import Values

struct StatusCommand: AsyncParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case json
    }

    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show how every target of a running controller stands.",
        discussion: """
            Asks the 'plumb run' of this machine over its socket. A target is in sync at a revision when every resource there was observed against it. Exit
            status: 0 all are in sync; 2 something differs, is pending or is a problem; 1 the controller can't be asked.
            """
    )

    @Option(help: ArgumentHelp("The controller's socket (default: control.sock in the data directory).", valueName: "path"))
    var socket: String?

    @Option(help: ArgumentHelp("text or json.", valueName: "format"))
    var output = Format.text

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        let answer: Value
        do throws(ControlFailure) {
            let path = socket ?? "\(dataDirectory.path ?? ".")/\(ControlSocket.fileName)"
            answer = try ControlClient.send(ControlRequest("status"), to: path, timeout: .seconds(10))
        } catch {
            let fix = error.fix.isEmpty ? "" : "    \(Escaping.shown(error.fix))\n"
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(error.message))\n\(fix)")
            throw ExitCode(1)
        }
        guard let status = try? ControllerStatus(answer) else {
            terminal.writeError("\(terminal.errors.errorWord): the controller's answer can't be read; is it of another version?\n")
            throw ExitCode(1)
        }
        switch output {
        case .json: terminal.write(answer.prettyJSON)
        case .text: terminal.write(status.text(style: terminal.output, now: Date()))
        }
        let isQuiet = status.source.revision != nil && status.source.mistakes.isEmpty
        if !isQuiet || status.targets.contains(where: { $0.standing != .inSync }) { throw ExitCode(2) }
    }
}

extension ControllerStatus {
    /// As the socket has it.
    init(_ value: Value) throws {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        self = try decoder.decode(Self.self, from: Data(value.exposedJSON.utf8))
    }

    var value: Value? {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        return (try? encoder.encode(self)).flatMap { try? Value(json: $0) }
    }

    /// As people read it.
    func text(style: Style, now: Date) -> String {
        var lines: [String] = []
        let asked = source.lastAsked.map { ", asked \($0.age(at: now)) ago" } ?? ""
        let since = source.since.map { ", in force for \($0.age(at: now))" } ?? ""
        let revision = source.revision.map { String($0.prefix(12)) } ?? "nothing in force yet"
        lines.append("\(style.bold(Escaping.shown(source.url))) at \(style.bold(Escaping.shown(revision)))\(since)\(asked)")
        if !source.mistakes.isEmpty {
            let refused = source.refusedRevision.map { "\(Escaping.shown(String($0.prefix(12)))) is not in force" } ?? "the source can't be asked"
            lines.append("  \(style.boldRed(refused)):")
            lines += source.mistakes.prefix(20).map { "    \(Escaping.lines($0, indent: "    "))" }
            if source.mistakes.count > 20 { lines.append("    and \(source.mistakes.count - 20) more") }
        }
        if let reports { lines += reports.lines(style: style, now: now) }
        if let driftIssue { lines += driftIssue.lines(style: style, now: now) }
        if !leading { lines.append(style.yellow("Another replica leads; this one changes nothing.")) }
        lines.append("")
        let width = targets.map { $0.name.count }.max() ?? 0
        for target in targets {
            let name = Escaping.shown(target.name).padding(toLength: max(width, 1), withPad: " ", startingAt: 0)
            lines.append("\(name)  \(target.words(style: style, now: now))")
            for item in target.open {
                let place = item.address ?? target.name
                lines.append(
                    "    \(style.yellow(Escaping.shown(item.status))) \(Escaping.shown(place)): \(Escaping.lines(item.message, indent: "        "))"
                )
            }
        }
        let counts = Dictionary(grouping: targets, by: \.standing).mapValues(\.count)
        let parts: [(Standing, String)] = [(.inSync, "in sync"), (.drifting, "drifting"), (.problem, "with problems"), (.pending, "pending")]
        let summary = parts.compactMap { standing, words in counts[standing].map { "\($0) \(words)" } }
        lines.append("")
        lines.append(
            targets.isEmpty ? "No targets." : "\(targets.count == 1 ? "1 target" : "\(targets.count) targets"): \(summary.joined(separator: ", "))."
        )
        return lines.joined(separator: "\n") + "\n"
    }
}

extension ControllerStatus.ReportsStatus {
    fileprivate func lines(style: Style, now: Date) -> [String] {
        var parts = ["reports: \(open) open at \(forge) \(Escaping.shown(repository))"]
        if waiting > 0 { parts.append("\(waiting) planned later: too many by one author") }
        parts.append(lastPosted.map { "last posted \($0.age(at: now)) ago" } ?? "none posted yet")
        let since = problemSince.map { " (for \($0.age(at: now)))" } ?? ""
        return [parts.joined(separator: ", ")]
            + (problem.map { ["  \(style.boldRed("problem"))\(since): \(Escaping.lines($0, indent: "    "))"] } ?? [])
    }
}

extension ControllerStatus.DriftIssueStatus {
    fileprivate func lines(style: Style, now: Date) -> [String] {
        let about = differences.map { $0 == 1 ? "1 difference" : "\($0) differences" } ?? "not written yet"
        let age = lastSaid.map { ", as of \($0.age(at: now)) ago" } ?? ""
        let since = problemSince.map { " (for \($0.age(at: now)))" } ?? ""
        return ["drift issue: \(about)\(age)"]
            + (problem.map { ["  \(style.boldRed("problem"))\(since): \(Escaping.lines($0, indent: "    "))"] } ?? [])
    }
}

extension ControllerStatus.TargetStatus {
    fileprivate func words(style: Style, now: Date) -> String {
        let sync = inSyncAt.map { "in sync at \(Escaping.shown($0))" } ?? "never in sync yet"
        let start =
            switch standing {
            case .inSync: style.green(sync)
            case .drifting: style.yellow("drifting") + ", \(inSyncAt == nil ? sync : "last \(sync)")"
            case .problem: style.boldRed("problem") + ", \(inSyncAt == nil ? sync : "last \(sync)")"
            case .pending: style.dim("pending") + ", \(inSyncAt == nil ? sync : "last \(sync)")"
            }
        var rest: [String] = []
        if let lastPass {
            let milliseconds = Int(lastPass.seconds * 1000)
            let what = lastPass.changed == 0 ? "" : ", \(lastPass.changed) changed"
            rest.append(
                "looked at \(lastPass.ended.age(at: now)) ago in \(milliseconds) ms (\(Escaping.shown(lastPass.reasons.joined(separator: ", ")))\(what))"
            )
        }
        if !isFollowed { rest.append(style.yellow("no events")) }
        if let next, next > now { rest.append("next in \(now.age(at: next))") }
        return ([start] + rest).joined(separator: "; ")
    }
}
