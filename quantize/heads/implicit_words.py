"""What the generated descriptions of people and organisations are put together from: our own words, by walk of life.

Entries of one string are parted by bars. Order matters: the pools are split into training and held-out parts by it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk of life: who is there, what happened to one of them, where, and the groups and what befell those."""

    roles: str
    events: str
    places: str
    groups: str
    befell: str


WALKS = (
    Walk(
        "receptionist|sales director|new hire|payroll clerk|office manager|chief of staff|trainee|personal assistant"
        "|regional manager|head of procurement|part-timer|union rep",
        "sent the salary list to everyone|fell asleep in the shareholders' meeting"
        "|was promoted over three older colleagues|quit two days before the audit|reported the travel expenses"
        "|came back from parental leave in May|spilled coffee over the server|lost the Nordic account"
        "|slept with a supplier|asked for a desk far from the window|forged the attendance sheets"
        "|never turned up to the Christmas party|sings in a punk band at weekends|handles all the bribes"
        "|earns more than the managing director",
        "the Leeds branch|our department|the third floor|the night desk|the purchasing office|the new call centre"
        "|the canteen|headquarters",
        "sales team|works council|subsidiary|night crew|marketing agency|cleaning firm|temp agency|unit",
        "missed every target this spring|was moved to the basement|threatened to strike over the canteen"
        "|lost half its people after the merger|hid the losses until June",
    ),
    Walk(
        "surgeon|midwife|ward sister|anaesthetist|physiotherapist|paramedic|dental nurse|patient|psychiatrist"
        "|pharmacist|junior doctor|cleaner",
        "left a swab inside a patient|was treated for leukaemia twice|stole morphine from the cupboard"
        "|had the liver transplant|refused the transfusion|fainted during a caesarean|relapsed after the clinic"
        "|gave birth in the car park|swapped the two test results|caught measles from the waiting room"
        "|lost both legs in the ferry accident|took an overdose in March|prescribes opiates to half the town"
        "|sleeps in the linen room|writes the anonymous blog",
        "ward seven|the burns unit|our practice|the island's only hospital|the day clinic|the maternity wing"
        "|the village surgery|the dialysis room",
        "care home|practice|ambulance crew|hospice|fertility clinic|laboratory|pharmacy|dental practice",
        "mixed up the embryos|had the salmonella outbreak|was closed after two deaths|turned away the homeless man"
        "|lost its licence in autumn",
    ),
    Walk(
        "maths teacher|headmistress|exchange student|school nurse|pupil|caretaker|doctoral student|lecturer|dean"
        "|kindergarten teacher|scholarship holder|librarian",
        "was expelled for selling exam papers|plagiarised half of the thesis|brought a knife to class"
        "|wet the bed on the trip|failed the final three times|kissed a pupil at the ball"
        "|was bullied off the swimming team|speaks only Tigrinya|set off the fire alarm during the exams"
        "|hasn't eaten lunch since September|skipped two years|faked the survey data|teaches barefoot"
        "|drinks before the lessons|marks the essays of the twins",
        "year nine|our faculty|the boarding house|the evening school|the rowing club|my seminar|the music department"
        "|the sixth form",
        "school|faculty|reading group|chair of botany|student union|nursery|debating team|kindergarten",
        "had the roof fall in|expelled four girls at once|was caught inflating grades|came last in the inspection"
        "|dismissed its whole board",
    ),
    Walk(
        "magistrate|public defender|bailiff|juror|prosecutor|plaintiff|notary|witness|probation officer|paralegal"
        "|court interpreter|defendant",
        "fell out with the presiding judge|withdrew the statement in tears|was acquitted on appeal last year"
        "|took money from the landlord|served nine years for arson|slept through the closing speech"
        "|recognised the getaway driver|changed sides in the water case|sued two former employers"
        "|was disbarred over the trust account|hid the second will|testified behind a screen|golfs with the accused"
        "|drafts the rulings for the old judge|keeps the sealed file at home",
        "the district|the county court|the appeals chamber|the land registry|our circuit|the juvenile court"
        "|the parole board|the bar association",
        "law firm|chamber|jury|prosecutor's office|debt collector|registry|prison|legal clinic",
        "lost the asbestos files|settled with the widow|was raided at dawn|let the deadline pass in the dam case"
        "|billed a dead client for a year",
    ),
    Walk(
        "mayor|postwoman|parish clerk|farmer|innkeeper|fire chief|councillor|baker|beekeeper|gravedigger|bus driver"
        "|vet",
        "shot the neighbour's dog|won the lottery in February|set the barn alight|keeps eleven peacocks"
        "|drove the snow plough into the pond|converted to Islam last summer|left his wife for the organist"
        "|sold the common to a developer|found the body by the weir|was evicted from the mill"
        "|came out at the harvest supper|buried two husbands|brews absinthe in the barn|rings the bells drunk"
        "|lets the sheep into the churchyard",
        "the village|the valley|our parish|the island|the housing estate|the harbour|the hamlet|the market square",
        "bakery|family|parish council|choir|fire brigade|inn|farm|dairy",
        "burned down twice|moved away after the trial|poisoned the stream|fought over the wind turbines"
        "|took in the refugees from the bus",
    ),
    Walk(
        "goalkeeper|coach|physio|club treasurer|captain|referee|gymnast|groundsman|swimmer|jockey|talent scout"
        "|linesman",
        "missed the penalty in the cup final|tested positive in Lisbon|broke the same leg twice"
        "|was caught betting on own matches|walked off at half-time|left after the hazing|trained with a pacemaker"
        "|punched the physio|was dropped for being pregnant|hid a concussion all season|grew up in the care home"
        "|cheated at the weigh-in|coaches both teams at once|buys syringes for the sprinters|lives in the clubhouse",
        "the women's squad|the under-sixteens|our rowing club|the second league|the stadium|the county team"
        "|the riding school|the training camp",
        "club|squad|relay team|supporters' club|gym|riding school|federation|academy",
        "was relegated three years running|covered up the doping|sold its only ground|lost its sponsor over the video"
        "|banned its own captain",
    ),
    Walk(
        "developer|site reliability engineer|data scientist|tester|support agent|product owner|contractor|CTO"
        "|designer|security analyst|intern|release manager",
        "dropped the customer table on a Friday|pushed the keys to a public repository|wrote the billing code alone"
        "|read the chief executive's mail|mined coins on the build machines|resigned over the chat logs"
        "|took the laptop to a rival|ignored the pager all night|leaked the roadmap to a blog"
        "|broke the release in week one|was hired back twice|blocked the migration for a year"
        "|reviews every release alone|works three jobs from home|maintains the old mainframe",
        "the platform team|our Lisbon office|the data centre|the support desk|the mobile group|the start-up"
        "|the security guild|the open space",
        "start-up|platform team|supplier|hosting company|app maker|support group|data broker|consultancy",
        "lost the photos of nine thousand users|was bought in April for its patents|laid off all its testers"
        "|shipped the broken firmware|was fined for the camera app",
    ),
    Walk(
        "branch manager|trader|auditor|client|investor|loan officer|accountant|heiress|fund manager|cashier|broker"
        "|board member",
        "bet the pension money on copper|was photographed with the regulator|signed for the missing gold"
        "|moved eleven million to Cyprus|went bankrupt twice before forty|shorted the firm's own shares"
        "|inherited the shipyard|blew the whistle on the bonus pool|kept two sets of books|took a bribe in a car wash"
        "|was married to the examiner|bought the island with a loan from us|approves his own loans"
        "|launders cash through the arcade|drives a gold Bentley to work",
        "the trading floor|our Zurich branch|the private bank|the vault|the audit committee|the credit desk"
        "|the family office|the insurer",
        "bank|hedge fund|insurer|client|holding company|family office|credit union|pension fund",
        "lent to its own chairman|went under in the rate shock|hid the flood claims"
        "|refused every claim from the dam breach|was sold for one euro",
    ),
    Walk(
        "tenant|landlady|neighbour|janitor|estate agent|flatmate|lodger|builder|widow|squatter|plumber|couple",
        "has not paid since the fire|keeps a python in the bathtub|died in the lift|sublets to nine students"
        "|was burgled three times this winter|plays the tuba at night|reported mould to the press"
        "|walled up the back door|had the police round on Sunday|painted the staircase black"
        "|moved in with her ex-husband's mother|collects old ambulances|feeds the rats in the yard"
        "|breeds snakes above us|owes eleven months of rent",
        "flat twelve|our building|the top floor|the corner house|the cul-de-sac|the allotment|the gated estate"
        "|the rear courtyard",
        "household|family|letting agency|housing association|building firm|law office|couple|shop",
        "sued the whole street|was flooded out twice|bought the three houses opposite|never takes the bins out"
        "|was on television about the rats",
    ),
    Walk(
        "priest|cellist|corporal|ballet dancer|choirmaster|novice|helicopter pilot|conductor|playwright|chaplain"
        "|stage manager|lance corporal",
        "fathered a child in the seminary|dropped the violin on live television|deserted from the base at Easter"
        "|was cut from the second act|lost faith after the earthquake|flew under the bridge"
        "|had the affair with the soprano|came back from captivity|stood in for the tenor with an hour's warning"
        "|walked out of the monastery|embezzled the organ fund|was wounded by friendly fire"
        "|preaches against the bishop|plays the lead from a wheelchair|smuggles cigarettes into the barracks",
        "the garrison|the diocese|the opera house|our regiment|the convent|the orchestra|the air base|the festival",
        "orchestra|regiment|parish|theatre company|order|band|diocese|platoon",
        "cancelled the tour after the accusations|lost six men in one night|sold its bells"
        "|sacked the conductor by fax|hid the abuse for decades",
    ),
)

TRAITS = (
    "female|deaf|left-handed|Iranian|unmarried|transgender|openly gay|Jewish|blind|Finnish|Black|bearded|vegan"
    "|adopted|teetotal|dyslexic|under thirty|Muslim|recently widowed|diabetic|over seventy|red-haired"
)
SUPERLATIVES = "youngest|oldest|longest-serving|highest-paid|most junior|newest|tallest|shortest|quietest|most senior"
KIN = "wife|husband|brother|daughter|son|sister|father|mother-in-law|twin|nephew|partner|ex-wife|stepson|cousin"
KIN_FACTS = (
    "works for our main competitor|sits in the state parliament|was arrested at the airport"
    "|runs the shop across the road|died in the avalanche|is being treated for anorexia|owns the building"
    "|plays for the national side|was on the sunken ferry|teaches our children|sued the hospital"
    "|writes the gossip column|is dating the inspector|vanished two years ago|judges the same cases"
    "|has the same rare illness"
)
MARKS = (
    "a prosthetic arm|a service dog|a Glaswegian accent|seven children|a criminal record|two passports"
    "|a facial tattoo|a stammer|a pacemaker|a wheelchair|an eye patch|an aristocratic title"
)
DEEDS = (
    "accused of stealing from the till|suspended over the emails|seen leaving at midnight|demoted after the leak"
    "|caught on the garage camera|sentenced for tax fraud|dismissed for drinking|diagnosed with MS in spring"
    "|transferred from the Oslo site|involved in the crash on the ring road|passed over for the third time"
    "|living above the chemist's"
)
TIMES = "last March|two weeks ago|on Friday|this summer|in 2019|last year|yesterday|at New Year"

FRAMES = (
    "Draft an e-mail to the lawyer about {}.|Summarise for the board what happened with {}.|What should I tell {}?"
    "|Write a reference for {}.|How do we deal with {}?|Please prepare the file on {} for tomorrow."
    "|I need talking points for my meeting with {}.|Rewrite this politely: {} must not be invited."
    "|{} has asked for a pay rise, and I want to say no.|Put together a timeline of the complaints against {}."
    "|Can you help me word an apology to {}?|Translate into French: {} will have to go on Monday."
    "|Note for the record: spoke with {} about the incident.|Is it legal to dismiss {}?"
    "|Make a risk assessment for {}.|Write a short profile of {} for the newsletter."
    "|Everyone is talking about {}; how should I react?|Condense these notes on {} into three bullet points."
    "|We are thinking of settling with {}, draft an offer.|Compose a condolence card to {}."
    "|Remind me to call {} after lunch.|My question concerns {}."
    "|Prepare interview questions for {}, and keep them neutral.|Check this statement about {} for tone."
    "|Set up a meeting with {} next week.|Yesterday {} called me in tears. What can I do?"
    "|Give me advice on how to support {}.|Flag anything unusual in the report on {}."
    "|We have to inform {} of the decision.|Write a warning letter to {}."
)

FIRMS = (
    "Brightwater Foods|Nordlicht Energie|Castellan Group|Quillon Labs|Tamarind Air|Fenwick Marine|Ostrava Steel"
    "|Halcyon Media|Verdigris Bank|Pallas Robotics|Kestrel Rail|Juniper & Loom"
)
CODENAMES = (
    "Marigold|Blue Heron|Tundra|Lighthouse|Cinnabar|Ninebark|Foxglove|Obelisk|Saffron|Driftwood|Kingfisher|Basalt"
)
PRODUCTS = "tablet|pricing engine|drone|loyalty scheme|merger|factory|vaccine|payment service|plant closure|sensor"
"|search index|airship"
