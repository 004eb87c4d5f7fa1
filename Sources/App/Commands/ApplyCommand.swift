import Applying
import ArgumentParser
@preconcurrency import Dispatch
import Foundation
import Planning
import Reporting
import ResourceModel
import Synchronization

struct ApplyCommand: AsyncParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case jsonl
    }

    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Plan, ask, and end the differences.",
        discussion: """
            Every action that does not depend on a problem is carried out, then observed again: only what is live as declared has succeeded.
            Exit status: 0 only when everything the specs declare is so at the end; else 1.
            """
    )

    @Argument(help: "A folder of YAML files, or one file.")
    var source = Source.defaultPath

    @Flag(help: "Don't ask.")
    var yes = false

    @Option(
        help: ArgumentHelp(
            "How long every changed object may take to be ready: 5s, 2m (default: not awaited, but where another one depends on it).",
            valueName: "duration"
        )
    )
    var wait: DurationArgument?

    @Option(
        name: .customLong("confirm-timeout"),
        help: ArgumentHelp(
            "How long a change that may cut the connection may take, with its confirmation over a new one, before the host undoes it by itself.",
            valueName: "duration"
        )
    )
    var confirmTimeout = DurationArgument(.seconds(30))

    @Option(help: ArgumentHelp("text or jsonl.", valueName: "format"))
    var output = Format.text

    @OptionGroup var options: SharedOptions

    func validate() throws {
        guard (.seconds(1) ... .seconds(3600)).contains(confirmTimeout.value) else {
            throw ValidationError("--confirm-timeout must be from 1s to 1h, not \(confirmTimeout).")
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let session = try Session(source: source, options: options, confirmTimeout: confirmTimeout.value, terminal: terminal)
        do {
            // Before anything is looked at: what is planned under the lock is still so when it is carried out.
            let record = try await ApplyRecord.open(source: source, options: options, terminal: terminal)
            defer { record.close() }
            let plan = await session.plan()
            try await session.remember(plan, isShown: output == .text, in: record)
            try await apply(plan, in: session, record: record, terminal: terminal)
            await session.close()
        } catch {
            await session.close()
            throw error
        }
    }

    private func apply(_ plan: Plan, in session: Session, record: ApplyRecord, terminal: Terminal) async throws {
        let text = plan.text(style: output == .text ? terminal.output : terminal.errors, showsSteps: options.verbose)
        if output == .text { terminal.write(text) }

        if plan.actions.isEmpty || plan.refusal != nil {
            if let refusal = plan.refusal, output == .jsonl { terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(refusal))\n") }
            if plan.refusal == nil { await session.settleInventories() }
            var summary = ApplySummary()
            summary.problems = plan.problems.count
            if output == .jsonl { terminal.write(ApplyEvent.summary(summary).document.lineJSON + "\n") }
            if !summary.isComplete { throw ExitCode(1) }
            return
        }
        if !yes { try confirm(plan, text: text, terminal: terminal) }

        try await record.begin(plan)
        let interruption = Interruption(terminal: terminal)
        defer { interruption.end() }
        let format = output
        let report: @Sendable (ApplyEvent) -> Void = { event in
            switch format {
            case .jsonl: terminal.write(event.document.lineJSON + "\n")
            case .text: if let line = event.text(style: terminal.output) { terminal.write(line + "\n") }
            }
        }
        let summary = await session.apply(
            plan,
            record: record,
            wait: wait?.value,
            isInterrupted: { interruption.isRequested },
            report: report
        )
        let isRecorded = await record.end(summary)
        if output == .text, !plan.problems.isEmpty { terminal.write("\n" + plan.problemsText(style: terminal.output) + "\n") }
        if !summary.isComplete || !isRecorded { throw ExitCode(1) }
    }

    private func confirm(_ plan: Plan, text: String, terminal: Terminal) throws {
        guard terminal.inputIsTerminal else {
            terminal.writeError("error: nobody can be asked, since stdin is no terminal; nothing was changed\n")
            terminal.writeError("    Give --yes to apply without a question.\n")
            throw ExitCode(1)
        }
        if output == .jsonl { terminal.writeError(text) }
        let count = plan.actions.count == 1 ? "this change" : "these \(plan.actions.count) changes"
        let answer = terminal.ask("\n\(terminal.errors.question("Apply \(count)?")) Only 'yes' goes ahead: ")
        guard answer == "yes" else {
            terminal.writeError("Declined; nothing was changed.\n")
            throw ExitCode(1)
        }
        terminal.writeError("\n")
    }
}

/// The first Ctrl-C ends an apply in good order: what runs is finished and observed, nothing new is started. The second ends the process.
private final class Interruption: Sendable {
    private let requested = Atomic(false)
    private let sources: [any DispatchSourceSignal]

    init(terminal: Terminal) {
        let queue = DispatchQueue(label: "plumb.signals")
        sources = [SIGINT, SIGTERM].map { signal(of: $0, queue: queue) }
        for source in sources {
            source.setEventHandler { [weak self] in
                guard let self else { return }
                if self.requested.exchange(true, ordering: .relaxed) { _exit(130) }
                terminal.writeError("\nfinishing what is under way; interrupt again to stop at once\n")
            }
            source.resume()
        }
    }

    var isRequested: Bool { requested.load(ordering: .relaxed) }

    func end() {
        for source in sources { source.cancel() }
        for number in [SIGINT, SIGTERM] { Foundation.signal(number, SIG_DFL) }
    }
}

private func signal(of number: Int32, queue: DispatchQueue) -> any DispatchSourceSignal {
    Foundation.signal(number, SIG_IGN)
    return DispatchSource.makeSignalSource(signal: number, queue: queue)
}
