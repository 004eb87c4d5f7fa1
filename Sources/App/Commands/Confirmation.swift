import ArgumentParser
import Reporting

extension Terminal {
    /// Asks whether to go ahead, unless that was answered on the command line.
    ///
    /// - Throws: exit status 1 where nobody can be asked, or somebody declines.
    func confirm(_ question: String, isAnswered: Bool) throws {
        if isAnswered { return }
        guard inputIsTerminal else {
            writeError("error: nobody can be asked, since stdin is no terminal; nothing was changed\n")
            writeError("    Give --yes to go ahead without a question.\n")
            throw ExitCode(1)
        }
        guard ask("\n\(errors.question(question)) Only 'yes' goes ahead: ") == "yes" else {
            writeError("Declined; nothing was changed.\n")
            throw ExitCode(1)
        }
        writeError("\n")
    }
}
