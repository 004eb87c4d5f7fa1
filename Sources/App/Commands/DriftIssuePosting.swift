import ArgumentParser
import Forge
import Planning
import Reporting

extension ReportCommand {
    /// Opens, updates, closes or reopens the one issue of what differs from the base.
    ///
    /// - Throws: exit status 1, after the reason was printed.
    func keepDriftIssue(_ terminal: Terminal) async throws {
        let run = try ReportRun(repository: source, options: options, audience: .init(hidesValues: hideValues), terminal: terminal)
        let (plan, revision, observedAt) = try await run.drift(at: base)
        let issue: DriftIssue
        do throws(ForgeFailure) {
            guard let client = try posting.client(site: run.site) else { return }
            let outcome: Result<DriftIssue, ForgeFailure>
            do throws(ForgeFailure) {
                // A public repository's issues are read by everybody.
                let isPublic = try await client.isPublicRepository()
                let found = DriftIssue(
                    revision: revision,
                    site: run.site,
                    hidesValues: hideValues || isPublic,
                    observedAt: observedAt,
                    actions: plan.actions,
                    problems: plan.problems
                )
                let words = try await client.post(found)
                terminal.writeError("\(client.service.name), drift: \(words)\n")
                outcome = .success(found)
            } catch {
                outcome = .failure(error)
            }
            await client.close()
            issue = try outcome.get()
        } catch {
            let fix = error.fix.map { "    \(Escaping.shown($0))\n" } ?? ""
            terminal.writeError("\(terminal.errors.errorWord): the issue was not brought up to date: \(Escaping.shown(error.message))\n\(fix)")
            throw ExitCode(1)
        }
        terminal.write("\(issue.markdown(budget: maxBytes ?? .max))\n\(issue.time)\n")
        if !issue.isComplete { throw ExitCode(1) }
    }
}

extension ForgeClient {
    /// Makes the issue of this site say this.
    ///
    /// - Returns: what was done, for a person.
    func post(_ issue: DriftIssue) async throws(ForgeFailure) -> String {
        // What could not be read may have drifted: an issue that says so stays as it is.
        if !issue.isOpen, !issue.isComplete { return "nothing that could be read differs; left as it is" }
        let text = issue.markdown(budget: max(4096, textLimit - 256))
        let outcome = try await driftIssue(opens: issue.isOpen, title: issue.title, text: "\(text)\n\(ReportMarker.time(issue.time))")
        return "issue \(outcome.rawValue)"
    }
}
