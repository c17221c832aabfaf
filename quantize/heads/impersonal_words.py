"""What the generated texts that identify nobody are put together from: our own words.

Entries of one string are parted by bars. Order matters: the pools are split into training and held-out parts by it.
"""

from __future__ import annotations

OUTCOMES = (
    "will be told on Friday|has to sign the form again|needs a new laptop|was not amused|wants to see the figures"
    "|should get a written warning|cannot come to the dinner|must be paid by the end of the month"
    "|is looking for advice|would like to postpone|is the subject of this letter|deserves better|gets a bonus"
)
OWN_WISHES = (
    "How do I ask for a transfer?|Help me write to the management.|Should I see a lawyer?"
    "|Draft my resignation, please.|What can I say in the interview?|I want to complain anonymously."
    "|Write a post for the forum about it.|How much notice must I give?|I'd rather nobody found out."
)
THINGS = (
    "the quarterly figures|the delivery that came late|the new printer|the contract with the supplier|the insurance"
    "|our holiday rota|the tax return that is due in May|the website|my old bicycle|the budget for next year"
    "|the lease|the meeting on Tuesday|the invoice which was paid twice|the broken heating|our customers"
    "|the whole staff|the first draft|the training course|the best hotel in Vienna|the last bus"
    "|the only train in the morning|the oldest file on the disk|my landlord|the doctor|my boss|the support line"
    "|the tax office|the newest version|the dog that barks at night"
)
GIVEN = "Amara|Piotr|Leonie|Tariq|Ingrid|Dmitri|Rosalind|Kwame|Sofia|Hugh|Mei|Alonso|Bridget|Nikhil|Jelena|Oswald"
FAMILY = (
    "Okafor|Wisniewski|Hartmann|Aziz|Solberg|Petrov|Fairweather|Mensah|Marchetti|Pemberton|Zhang|Ibarra|Doyle|Rao|Kovac"
)
PRESENT = (
    "is on call|wants to leave early|needs a visa|signs the contract|applies late|is responsible for safety"
    "|has a question|takes over the shift|feels ill|works from home|has a valid ticket|speaks the language"
    "|can drive a van|pays in advance|is older than sixteen|asks for a refund|does not reply|is looking for a job"
    "|must be present|will be asked to help"
)
PLURAL = (
    "work at night|live alone|have a dog|travel for work|are left-handed|never complain|rent a flat"
    "|speak two languages|need help with the form|pay by card|were born abroad|like jazz"
)
TRADE_FRAMES = (
    "What does {} do all day?|How much does {} earn in Denmark?|Write a job advert for {}."
    "|What training does {} need?|Which rights does {} have?|Explain what {} is to a child."
    "|How do I become as patient as {}?|What tools does {} use?|Is there a union for {}?|What is another word for {}?"
    "|Can {} be replaced by software?|What should {} wear?|List ten interview questions for {}."
    "|What insurance does {} need?|Draw up a rota for {}.|How do you thank {}?"
)
RULES = (
    "The {role} who {present} has to fill in form B.|If a {role} {present}, the manager decides."
    "|Whoever {present} should tell the {role} beforehand.|The {group} that {present} receives a receipt."
    "|Each {role} who {present} gets a badge at the gate.|The person who {present} is asked to come to the desk."
    "|Employees who are ill must call the {role} before nine.|The {role} should always be the first to arrive."
    "|The winner is the {role} who has the most points.|Only the {role} who {present} may enter the room."
    "|A {group} that loses its licence has to close.|The user who {present} sees a green button."
    "|The {role} on duty keeps the key.|The oldest {role} usually goes first."
    "|The {role} and the {group} share the cost equally."
    "|How many hours does the {role} work if each shift lasts six hours?"
    "|The {role} has 14 apples and gives away half of them."
    "|The youngest {role} is twice as old as the apprentice; how old are both?"
    "|The {role} who sold 30 cakes earned 60 dollars."
    "|A {role} bought three boxes and the {group} bought five more than that."
)
FIRSTS = (
    "woman to sail round the world alone|person to run a mile in four minutes|dog in orbit|president born after 1950"
    "|man to reach the South Pole|African to win the literature prize|climber on that summit without oxygen"
    "|king of Norway|prime minister of India|pilot to cross the Channel|film with sound|woman in parliament"
    "|country to use paper money"
)
PUBLIC_DEEDS = (
    "invented the telephone|discovered oxygen|painted the water lilies|wrote the ninth symphony"
    "|designed the Eiffel tower|won the world cup in 1966|composed the wedding march|first described gravity"
    "|founded the Red Cross|played the wizard in the film|translated the Iliad|built the canal"
    "|wrote the novel about the whale|led the revolution|coined the word robot"
)
PUBLIC_ROLES = "scientist|emperor|painter|general|actor|band|company|philosopher|team|explorer|composer|engineer"
"|queen|author|director"
KNOWN = (
    "Who was the first {first}?|Tell me about the {who} who {deed}.|Name the {who} that {deed}."
    "|The {who} who {deed} died poor.|What is the name of the person who {deed}?|Was the {who} who {deed} married?"
    "|The youngest {first} is a quiz question.|Which {who} {deed}?|Write an essay on the {who} who {deed}."
    "|When did the last {first} live?|What is the tallest building in the country of the {who} who {deed}?"
    "|Only one {who} ever {deed}; which?|How old was the {who} who {deed}?"
    "|Give me three facts about the only {first}.|I forgot who {deed}, was it a {who}?"
    "|What is the only mammal that lays eggs, and which {who} {deed}?"
)
TALES = (
    "Write a short story about a {role} who {event}.|In the film, the {role} who {event} turns out to be the hero."
    "|Imagine a {role} who {event}, and tell it as a fairy tale."
    "|The novel is about a {role} who {event}; the ending is weak.|Invent a character: a {role} who {event}."
    "|The actor who plays the {role} is brilliant in the last scene."
    "|The best episode is the one in which the {role} {event}.|Make up a joke about a {role} who {event}."
    "|Write a poem in which a {role} {event}."
    "|I loved the book, above all the {role}, who is the only likeable character."
    "|Chapter two: the {role} who {event} meets the wizard.|In my novel, the {role} who {event} is the villain."
    "|Suppose a {role} {event}. Which law would apply?|Describe a villain: the {role} of the castle, who {event}."
)
CODE = (
    "return the first user who is not banned|find the process that holds the lock and kill it"
    "|the client that sends the request must wait for the server which owns the key"
    "|write a query for the customer with the most orders|select the oldest row whose owner is null"
    "|the function that calls itself is the only one without a test"
    "|the parent node whose children are all leaves is removed"
    "|print the name of the employee who has the highest salary|the worker that fails last restarts the queue"
    "|delete the team whose members are all inactive|write a regular expression for the last word of a line"
    "|the only argument that is required is the path|group the students by class and return the tallest one"
    "|the thread that wins the race writes the file|implement an agent who picks the youngest player as captain"
    "|count how many managers have more than five reports|the subscriber who joined first is served first"
    "|give the owner of the record the right to edit it|show an internal error to the user"
    "|explain the internal combustion engine|what is a stealth aircraft made of"
    "|is there a secret menu at the restaurant|write a prototype of the function|the internal clock of the body"
    "|plan a secret santa for the office|what does codename mean|keep the internal state of the object private"
    "|how do i keep a diary confidential|what were the most famous unreleased songs of the band"
    "|in-house training or a course|the largest installed package that fits is loaded first"
    "|the daemon that owned the lock was stopped by the supervisor|the newest file that was changed is kept"
    "|the account whose token expired gets an error|the first worker who was started wins"
    "|the smallest group which was found is merged with its parent|the last agent that wrote to the log is shown"
    "|the provider that was asked first answers"
    "|the only client with an open connection is the operator of the station"
    "|the owner of the oldest ticket is told by mail|the host whose certificate was revoked is refused"
    "|a model that was never measured gets the share of the strongest one that was"
    "|the store that kept the old record is closed|the process with the highest load was moved to the other board"
    "|the driver which crashed is restarted by its parent"
    "|the team with the fewest points was placed last in the table"
    "|the member whose name was given twice is counted once"
)
